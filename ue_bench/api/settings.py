"""Turns keyword arguments into the words of the command line, so that Python and the shell share one language."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ue_bench.config import NAMES
from ue_bench.errors import ConfigError


def as_words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of the command line; nested mappings become dotted keys.

    Example: ``{"method": ["em", "ar"], "em": {"max_rounds": 5}}`` gives ``["method=[em,ar]", "em.max_rounds=5"]``.

    Raises:
        ConfigError: for a value that no word can say.
    """
    words = []
    for key, value in settings.items():
        if not isinstance(value, Mapping) or key in NAMES:
            words.append(f"{key}={_write(value, key, inside=False)}")
        elif key == "parameters":
            words += as_words(value)
        else:
            words += [f"{key}.{inner}={_write(each, key, inside=False)}" for inner, each in value.items()]
    return words


def _write(value: Any, key: str, inside: bool = True) -> str:
    """A value as a word; ``inside`` a list or mapping, text is quoted where it could be taken for something else."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of NumPy's or torch's
    if value is None or isinstance(value, (bool, int, float)):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_./][\w./+-]*", value) and value.lower() not in (
            "null",
            "true",
            "false",
        )
        return value if plain or not inside else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_write(k, key)}: {_write(v, key)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple, range)) or getattr(value, "ndim", 0) == 1:
        return "[" + ",".join(_write(each, key) for each in value) + "]"
    raise ConfigError(
        f"{key}={value!r:.60} is {type(value).__name__}, but a setting is a number, text, a list or a mapping of these"
    )
