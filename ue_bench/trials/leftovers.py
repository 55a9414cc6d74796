"""Removes what processes left behind that were killed while they wrote or cleaned up."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ue_bench.trials.identity import is_gone
from ue_bench.trials.states import FOLDER, SUFFIX, States
from ue_bench.trials.store import Store

FOLDERS = ("plans", "trials", "noise", "prepared", "victims", "claims", "checkpoints")
OLD = 86_400.0  # seconds after which a temporary file of another machine counts as left behind


def remove_leftovers(store: Store) -> None:
    """Removes temporary files of ended processes (of other machines after a day) and states of finished work."""
    if not store.local:
        return
    for folder in FOLDERS:
        for path in Path(store.path(folder)).glob("*.tmp"):
            with contextlib.suppress(OSError):
                writer = path.name.split(".")[-3] if path.name.count(".") >= 3 else ""
                gone = is_gone(writer)
                if gone or (gone is None and time.time() - path.stat().st_mtime > OLD):
                    os.unlink(path)
    for work in {name.partition(".")[0] for name in store.names(FOLDER, SUFFIX)}:
        if _is_finished(work, store):
            States(store).remove(work)


def _is_finished(work: str, store: Store) -> bool:
    """Whether the result of a piece of work, ``trial-ID``, ``noise-KEY`` or ``prepared-KEY``, is in the store."""
    kind, _, key = work.partition("-")
    if kind == "trial":
        record = store.read_record(key)
        return record is not None and record["status"] != "failed"
    return store.has(kind, f"{key}.safetensors")
