"""Temporary files that processes left behind which were killed while they wrote."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ue_bench.trials.identity import is_gone
from ue_bench.trials.store import Store

FOLDERS = ("plans", "trials", "noise", "prepared", "victims", "claims", "checkpoints")
OLD = 86_400.0  # seconds after which a temporary file of another machine is taken to be left behind


def remove_leftovers(store: Store) -> None:
    """Removes those of processes of this machine that have ended, and of other machines after a day."""
    if not store.local:
        return
    for folder in FOLDERS:
        for path in Path(store.path(folder)).glob("*.tmp"):
            with contextlib.suppress(OSError):
                writer = path.name.split(".")[-3] if path.name.count(".") >= 3 else ""
                gone = is_gone(writer)
                if gone or (gone is None and time.time() - path.stat().st_mtime > OLD):
                    os.unlink(path)
