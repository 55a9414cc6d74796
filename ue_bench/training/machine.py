"""What is measured of this machine once, and kept in the user's cache."""

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ue_bench.canonical import digest, dumps
from ue_bench.data.locate import cache_root

_found: dict[Path, dict[str, Any]] = {}  # what this process has read or measured


def measured_once(
    kind: str, about: Mapping[str, Any], measure: Callable[[], Mapping[str, float]]
) -> dict[str, Any]:
    """``about`` together with what was measured: from the cache, or made now.

    Where the cache cannot be written, every process measures.

    Args:
        kind: of the measurement, a folder in the cache.
        about: all that the figures depend on, such as the device's name.
        measure: makes figures, all above 0.
    """
    about = json.loads(dumps(about))
    path = cache_root() / kind / f"{digest(about)}.json"
    if path not in _found:
        _found[path] = _read(path, about) or _write(path, {**about, **measure()})
    return _found[path]


def _read(path: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the file holds, or None if that is no measurement of this."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        figures = [value for name, value in kept.items() if name not in about]
        sound = all(isinstance(figure, (int, float)) and 0 < figure < math.inf for figure in figures)
        if figures and sound and all(kept.get(name) == value for name, value in about.items()):
            return kept
    return None


def _write(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Writes the file whole or not at all."""
    unfinished = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(dumps(found, indent=1), encoding="utf-8")
        os.replace(unfinished, path)
    return found
