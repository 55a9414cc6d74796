"""What a person sees while work goes on: bars on a terminal, plain lines elsewhere, silence in tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


class Progress:
    """Silent. The base of what shows something."""

    def say(self, line: str) -> None:
        """One line that stays."""

    def track(self, items: Iterable[Item], label: str) -> Iterable[Item]:
        """Passes ``items`` through, showing how far it is."""
        return items


class Lines(Progress):
    """Plain lines for logs: what stays, and once every ``every`` seconds how far a loop is."""

    def __init__(self, every: float = 20.0):
        self.every = every

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def track(self, items: Iterable[Item], label: str) -> Iterator[Item]:
        total = len(items) if isinstance(items, Sized) else None
        start = last = time.monotonic()
        for count, item in enumerate(items):
            now = time.monotonic()
            if now - last >= self.every:
                last = now
                self.say(f"    {label} {count}{describe(count, total, now - start)}")
            yield item


def describe(done: int, total: int | None, seconds: float) -> str:
    """What stands behind a count: `` of 30, 40 s left``."""
    if not total:
        return f", {seconds:.0f} s"
    left = seconds / max(done, 1) * (total - done)
    return f" of {total}, {left:.0f} s left"
