"""Canonical JSON, so that equal configurations have equal text, and short hashes of it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The metadata of a dataclass's field that is left out while it holds its default, since older ids and records lack it.
LATER = {"later": True}


def plain(value: Any) -> Any:
    """Turns dataclasses, enums, tuples and sets into what JSON can hold; infinity becomes ``"inf"``."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is dict:
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = {f: getattr(value, f.name) for f in dataclasses.fields(value)}
        later = [f for f, held in told.items() if f.metadata.get("later") and held == f.default]
        return {f.name: plain(held) for f, held in told.items() if f not in later}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON with sorted keys: equal configurations give equal text. Lone surrogates are spelled as JSON's escapes."""
    return dumps_plain(plain(value), indent)


def dumps_plain(value: Any, indent: int | None = None) -> str:
    """What ``dumps`` gives for a value that is ``plain`` already, such as one that was read from JSON, sooner."""
    return writable(json.dumps(value, sort_keys=True, indent=indent, ensure_ascii=False))


def writable(text: str) -> str:
    """The text with lone surrogates, which no file and no terminal takes, spelled out as ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


def digest(value: Any, length: int = 16) -> str:
    """A hash of ``value``'s canonical JSON, in ``length`` hexadecimal digits."""
    return digest_plain(plain(value), length)


def digest_plain(value: Any, length: int = 16) -> str:
    """What ``digest`` gives for a value that is ``plain`` already, sooner."""
    return hashlib.sha256(dumps_plain(value).encode()).hexdigest()[:length]


def hash_path(path: Path) -> str:
    """A hash of a file's content, or of the names and contents of a folder's files; its location does not matter."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return digest(
        [[file.relative_to(path).as_posix(), _hash_file(file, file.stat().st_mtime_ns)] for file in files]
    )


@functools.cache
def _hash_file(file: Path, changed: int) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
