"""The folders where data are looked for (``UE_BENCH_DATA``) and kept (``UE_BENCH_CACHE``)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ue_bench.errors import DataError


def data_root() -> Path | None:
    """The folder that ``UE_BENCH_DATA`` names, or None if it is not set."""
    value = os.environ.get("UE_BENCH_DATA", "").strip()
    if not value:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise DataError(
            f"UE_BENCH_DATA is '{value}', which is not a folder; it must name one that holds a folder for "
            "each dataset, such as cifar10/. Correct it, or unset it"
        )
    return root


def cache_root() -> Path:
    """The folder for decoded arrays and downloads: ``UE_BENCH_CACHE``, else ``~/.cache/ue-bench``."""
    value = os.environ.get("UE_BENCH_CACHE", "").strip()
    try:
        return Path(value or "~/.cache/ue-bench").expanduser()
    except RuntimeError:  # the user has no home folder, as in some containers
        return Path(tempfile.gettempdir(), "ue-bench")
