"""Checks whether the records that a run keeps were made with the same code and threads as its new ones would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ue_bench.registry import Registry
from ue_bench.trials.trial import Trial

PARTS = ("dataset", "method", "victim", "defense")


def sources_of(trial: Trial, registry: Registry) -> dict[str, str]:
    """A hash of the code of each piece of content that a trial uses."""
    return {part: registry.source(f"{part}s", getattr(trial, part).name) for part in PARTS}


def disagreements(
    records: Iterable[Mapping[str, Any]], registry: Registry, device: torch.device, present: int = 1
) -> list[str]:
    """Sentences about kept records whose code, or whose number of threads, is not that of the run.

    Args:
        records: the records that are kept; records of older versions do not hold their sources.
        registry: of the content as it is now.
        device: that the run computes on.
        present: the number of threads that the run computes with.
    """
    changed: Counter[tuple[str, str]] = Counter()
    threads: Counter[int | None] = Counter()
    for record in records:
        for part, source in (record.get("sources") or {}).items():
            name = record["config"][part]["name"]
            changed[part, name] += source != registry.source(f"{part}s", name)
        made_on = record.get("device") or {}
        if made_on.get("type") == device.type == "cpu" and made_on.get("threads") != present:
            threads[made_on.get("threads")] += 1
    found = []
    if stale := [f"{part} {name} ({number})" for (part, name), number in changed.items() if number]:
        found.append(
            f"content has changed since these records were made, and their numbers are kept: {', '.join(stale)}: raise "
            "its 'version' if results change with it, or name another folder with store=DIR"
        )
    return found + [
        f"{number} of these records were made by an older version with {count} threads, this run has {present}, which "
        "can move a number by some points: name another folder with store=DIR to make them anew"
        for count, number in threads.items()
    ]
