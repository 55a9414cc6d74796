"""The key=value words of the command line: split, checked and read in one place for every command."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import yaml

from ue_bench.errors import ConfigError, unknown

TEXT = "tag:yaml.org,2002:str"


class Loader(yaml.SafeLoader):
    """A YAML loader that refuses repeated keys; the plain loader silently keeps the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, Any]] = set()
        for key, _ in node.value:
            said = key.tag, str(key.value)
            if said in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"key '{key.value}' is given twice (line {line}): leave one out")
            seen.add(said)
        return node


class WordLoader(Loader):
    """A YAML loader for typed words: ``007``, ``no``, ``12:30`` and ``2024-01-01`` are text, ``5e-4`` is a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ConfigError("a word cannot hold anchors and aliases (& and *)")
        return super().compose_node(parent, index)


for _tag, _spelling, _first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    WordLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(rf"^(?:{_spelling})$"),
        [*_first, ""] if _tag == "null" else list(_first),
    )


def split_words(words: Iterable[str], usage: str = "") -> dict[str, str]:
    """``["seeds=3", "store=007"]`` -> ``{"seeds": "3", "store": "007"}``: values as they were typed.

    Raises:
        ConfigError: for a word without = and for a key that is given twice.
    """
    given: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key:
            advice = f"Usage: {usage}" if usage else "For example: seeds=3 or method=[em,ar]"
            raise ConfigError(f"cannot read '{word}': settings read key=value. {advice}")
        if key in given:
            raise ConfigError(f"{key}= is given twice, as {given[key]!r} and {text!r}: leave one out")
        given[key] = text
    return given


def read_words(
    words: Iterable[str],
    defaults: Mapping[str, str],
    needed: Sequence[str],
    usage: str,
    dotted: bool = False,
) -> dict[str, str]:
    """The words of a command by key, as they were typed; keys that are not given have their defaults.

    Args:
        words: the words of the command line.
        defaults: every key that the command knows, with its default.
        needed: keys that must be given.
        usage: the command as a person would type it, for errors.
        dotted: whether ``NAME.parameter`` is allowed too.

    Raises:
        ConfigError: for a word that cannot be read, and a key that is unknown, given twice or missing.
    """
    given = split_words(words, usage)
    for key in given:
        if key not in defaults and not (dotted and "." in key):
            raise unknown("key", key, defaults, usage)
    missing = [f"{key}=" for key in needed if not given.get(key)]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing. Usage: {usage}"
        )
    return {**defaults, **given}


def number(text: str) -> Any:
    """The value that a word means: a number, true, false, null, text, or a list or mapping of these.

    A fraction such as ``8/255`` is a number.

    Raises:
        ConfigError: if it cannot be read.
    """
    if re.fullmatch(r"\d+(\.\d+)?/\d+", text.strip()):
        try:
            return float(Fraction(text.strip()))
        except (ZeroDivisionError, OverflowError, ValueError):
            raise ConfigError(f"{text} is not a number: divide by a number other than 0") from None
    return _load(text)


def read_names(text: str, texts: Collection[str] = ()) -> Any:
    """A name, or ``{NAME: {parameter: value}}``, or a list of these; names stay as they were typed.

    Args:
        text: as it was typed.
        texts: keys ``NAME.parameter`` of parameters that are text: their values stay as they were typed, too.
    """
    if not text.startswith(("[", "{", "'", '"')) and ": " not in text:
        return text or None
    return _load(text, {*texts})


def read_plugins(text: str) -> tuple[str, ...]:
    """Reads ``plugins=`` as paths: one, or a list such as ``[mine.py,folder]``; paths stay as they were typed."""
    return read_paths("plugins", text, "a file, a folder, or a list of them, such as [mine.py,folder]")


def read_paths(
    key: str, text: str, allowed: str = "a folder, or a list of them, such as [DIR,DIR]"
) -> tuple[str, ...]:
    """Reads a word as one path or a list of paths, which stay as they were typed.

    Raises:
        ConfigError: with the words of what is allowed.
    """
    if not text.startswith("["):
        return (text,) if text else ()
    paths = read_names(text)
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise ConfigError(f"{key}={text}: say {allowed}")
    return tuple(paths)


def read_flag(given: Mapping[str, str], key: str) -> bool:
    """Reads ``true`` or ``false``."""
    if given[key].lower() not in ("true", "false"):
        raise ConfigError(f"{key}= must be true or false, not '{given[key]}'")
    return given[key].lower() == "true"


def read_whole(given: Mapping[str, str], key: str, least: int = 0, most: int | None = None) -> int:
    """Reads a whole number from ``least`` to ``most``."""
    value = number(given[key])
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most or value) < value:
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{key}= must be a whole number {span}, not '{given[key]}'")
    return value


def read_duration(text: str, key: str) -> float:
    """Reads a time such as ``3h50m``, ``90m``, ``45s`` or ``1d`` in seconds."""
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    parts = [int(part or 0) for part in found.groups()] if found else []
    seconds = sum(part * unit for part, unit in zip(parts, (86_400, 3600, 60, 1), strict=False))
    if not 0 < seconds < 10**9:
        raise ConfigError(f"{key}= must be a time from now such as 3h50m, 90m or 45s, not '{text}'")
    return float(seconds)


def read_number(given: Mapping[str, str], key: str) -> float:
    """Reads a finite number of at least 0."""
    value = number(given[key])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"{key}= must be a number of at least 0, not '{given[key]}'")
    return value


def _load(text: str, texts: Collection[str] | None = None) -> Any:
    """What the text says; with ``texts`` it holds names, see ``read_names``."""
    try:
        loader = WordLoader(text)
        try:
            node = loader.get_single_node()
            if texts is not None and node is not None:
                _keep_names(node, texts)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {text[:200]!r}: {str(error).splitlines()[0]}") from None


def _keep_names(node: yaml.Node, texts: Collection[str]) -> None:
    """Marks as text a name, each name in a list, the keys of a mapping, and parameters that are text."""
    if isinstance(node, yaml.ScalarNode):
        node.tag = TEXT
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            if not isinstance(each, yaml.SequenceNode):
                _keep_names(each, texts)
    elif isinstance(node, yaml.MappingNode):
        for key, inside in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = TEXT
            for parameter, value in inside.value if isinstance(inside, yaml.MappingNode) else ():
                if (
                    isinstance(value, yaml.ScalarNode)
                    and f"{str(key.value).partition(':')[0]}.{parameter.value}" in texts
                ):
                    value.tag = TEXT
