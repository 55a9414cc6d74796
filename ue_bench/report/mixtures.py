"""Differences between the records of one table that make its rows hard to compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def mixtures(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each difference in threads or in code; empty if the records agree or do not hold this."""
    threads: set[int] = set()
    sources: dict[tuple[str, str], set[str]] = {}
    for record in records:
        device = record.get("device") or {}
        if device.get("type") == "cpu" and device.get("threads"):
            threads.add(int(device["threads"]))
        for kind, source in (record.get("sources") or {}).items():
            sources.setdefault((kind, str(record["config"][kind]["name"])), set()).add(source)
    found = []
    if len(threads) > 1:
        numbers = " and ".join(map(str, sorted(threads)))
        found.append(
            f"these records were made with {numbers} threads, which can move a number by some points: "
            "compare rows that were made alike, or run all in a new store"
        )
    if changed := [f"{kind} {name}" for (kind, name), kept in sources.items() if len(kept) > 1]:
        found.append(f"content changed between these records: {', '.join(changed)}")
    return found
