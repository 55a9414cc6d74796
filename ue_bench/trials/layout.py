"""Reads the files of plans and records as they are laid out: what many of them share is parsed once."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

LATER = 'curves": {'  # long, and most readers do not look at them
NESTED = 'config": {'  # differs from trial to trial, but most of its parts do not
JOINT = ', "'  # what lies between two parts in canonical text
BETWEEN, AROUND = re.compile(r",\n +"), re.compile(r"\n *")
DEEP, LESS_DEEP = ",\n    ", ",\n   "  # what lies between the numbers of curves
PARTS = 4096  # that are remembered; a record has about 60
_parse = json.JSONDecoder().raw_decode


class Later(Mapping[str, Any]):
    """The curves of a record, parsed when they are first looked at.

    Args:
        text: starts with ``LATER``.
    """

    def __init__(self, text: str):
        self._text = text

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._text[len(LATER) - 1 :])
        return content

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


class Reader:
    """Reads files of one kind, each key on lines of its own, and checks their checksums.

    Args:
        later: True for readers who change nothing: parts that are equal in several files are one object in what is
            read from them, and a record's curves are left unparsed until somebody looks at them.
    """

    def __init__(self, later: bool = False):
        self.later = later
        remember = functools.lru_cache(PARTS) if later else lambda read: read
        self._outer, self._inner = remember(self._part), remember(_plain_part)

    def read(self, content: bytes) -> dict[str, Any] | None:
        """The content without its checksum; None if it is laid out in another way or its checksum does not match."""
        if not (content.startswith(b'{\n "') and content.endswith(b"\n}\n")):
            return None
        body: dict[str, Any] = {}
        stated, lines = None, []
        try:
            for text in content.decode()[4:-3].split(',\n "'):
                key, value, line = self._outer(text)
                if key == "checksum":
                    stated = value
                else:
                    body[key] = value
                    lines.append(line)
        except (ValueError, RecursionError):
            return None
        canonical = f'{{"{JOINT.join(lines)}}}'.encode()
        return body if hashlib.sha256(canonical).hexdigest()[:16] == stated else None

    def _part(self, text: str) -> tuple[str, Any, str]:
        """(key, value, canonical text) of what follows a key's first quotation mark; the text is without it, too."""
        if self.later and text.startswith(LATER) and _is_whole(text):
            line = _one_line(text.replace(DEEP, ", ").replace(LESS_DEEP, ", "))  # sooner than by BETWEEN
            return "curves", Later(line), line
        if text.startswith(f'{NESTED}\n  "') and text.endswith("\n }"):
            parts = [self._inner(part) for part in text[len(NESTED) + 4 : -3].split(',\n  "')]
            config = {key: value for key, value, _ in parts}
            return "config", config, f'{NESTED}"{JOINT.join(line for _, _, line in parts)}}}'
        return _plain_part(text)


def _is_whole(text: str) -> bool:
    """Whether a mapping of the outer level ends where the text ends, and nowhere before."""
    return text.find("}") == len(text) - 1 or text.find("\n }") == len(text) - 3


def _plain_part(text: str) -> tuple[str, Any, str]:
    """Like ``Reader._part``, whatever the value is."""
    key, colon, _ = text.partition('": ')
    if not (colon and key.isidentifier()):  # a key that may be spelt in another way than it reads
        return _odd_part(text)
    value, end = _parse(text, len(key) + 3)
    if end != len(text):
        raise ValueError(f"not one key and its value: {text}")
    return key, value, _one_line(text)


def _odd_part(text: str) -> tuple[str, Any, str]:
    part, end = _parse(f'{{"{text}}}')
    if len(part) != 1 or end != len(text) + 3:
        raise ValueError(f"not one key and its value: {text}")
    ((key, value),) = part.items()
    return key, value, _one_line(text)


def _one_line(text: str) -> str:
    """The text as canonical JSON has it: JSON has no line break but between its words."""
    return AROUND.sub("", BETWEEN.sub(", ", text)) if "\n" in text else text
