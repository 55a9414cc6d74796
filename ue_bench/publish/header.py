"""Checks a file's header before any of it is used, because whoever writes a file can write its checksum, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from ue_bench.errors import DataError


def check_header(facts: Any, wanted: Mapping[str, Any], path: object) -> None:
    """Raises DataError unless every wanted fact is there and has its type.

    Args:
        facts: the header's facts.
        wanted: {"name" or "outer.name": type}; types are str, int, float, dict, or a list such as ``list[str]``.
        path: the file's path, for the error.
    """
    for key, kind in wanted.items():
        value = facts
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not _is(value, kind):
            raise DataError(
                f"'{path}' is damaged, or was not written by ue-bench: {key} in its header must be "
                f"{_words(kind)}, not {str(value)[:60]!r}. Copy or make it again"
            )


def _is(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is(item, get_args(kind)[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is list:
        return f"a list of {_words(get_args(kind)[0])}"
    return {str: "text", int: "a whole number", float: "a number", dict: "names and values"}[kind]
