"""Shows progress: bars on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ue_bench.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import TaskID

Item = TypeVar("Item")


class Progress:
    """Shows nothing; the base class of what shows something."""

    def say(self, line: str) -> None:
        """Prints a line that stays."""

    def show(self, line: str) -> None:
        """Shows the last result, which stays in a log, and on a terminal until the next result."""
        self.say(line)

    def track(self, items: Iterable[Item], label: str) -> Iterable[Item]:
        """Passes ``items`` through and shows how many are done."""
        return items

    def follow(self, who: int, label: str, count: int | None, total: int | None) -> None:
        """Shows how far a loop in another process is.

        ``count`` None: it has ended; no label as well: all loops of that process have.
        """


@dataclass
class Counted(Generic[Item]):
    """An iterable without a length, such as a generator, together with its known number of items."""

    items: Iterable[Item]
    length: int

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return self.length


class Lines(Progress):
    """Plain lines for logs, and every ``every`` seconds a line with the progress of a loop."""

    def __init__(self, every: float = 20.0):
        self.every = every
        self._followed: dict[tuple[int, str], tuple[float, float]] = {}  # (who, label) -> (start, last line)

    def say(self, line: str) -> None:
        print(visible(line), file=sys.stderr, flush=True)

    def track(self, items: Iterable[Item], label: str) -> Iterator[Item]:
        total = len(items) if isinstance(items, Sized) else None
        start = last = time.monotonic()
        for count, item in enumerate(items):
            now = time.monotonic()
            if now - last >= self.every:
                last = now
                self.say(f"    {label} {count}{describe(count, total, now - start)}")
            yield item

    def follow(self, who: int, label: str, count: int | None, total: int | None) -> None:
        for key in [key for key in self._followed if key[0] == who and label in ("", key[1])]:
            if count is None:
                del self._followed[key]
        if count is None:
            return
        now = time.monotonic()
        start, last = self._followed.setdefault((who, label), (now, now))
        if now - last >= self.every:
            self._followed[who, label] = (start, now)
            self.say(f"    [task {who}] {label} {count}{describe(count, total, now - start)}")


class Bars(Progress):
    """One display for terminals: a bar with the time left for each running loop, and the last result below.

    Lines from ``say`` stay above it. The display disappears when the outermost loop ends.

    Args:
        console: where to show it; None: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Live
        from rich.text import Text

        class Display(Live):
            """The bars with a line below."""

            last = ""

            def get_renderables(self) -> Iterator[RenderableType]:
                yield self.make_tasks_table(self.tasks)
                if self.last:
                    yield Text(self.last, no_wrap=True, overflow="ellipsis")

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._followed: dict[tuple[int, str], TaskID] = {}
        console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = Display(*columns, console=console, transient=True)

    def show(self, line: str) -> None:
        self._live.last = visible(line)

    def say(self, line: str) -> None:
        self._live.console.print(visible(line), markup=False, emoji=False)

    def follow(self, who: int, label: str, count: int | None, total: int | None) -> None:
        if count is not None:
            bar = self._followed.get((who, label))
            if bar is None:
                bar = self._followed[who, label] = self._live.add_task(label, total=total)
            self._live.update(bar, completed=count)
            return
        for key in [key for key in self._followed if key[0] == who and label in ("", key[1])]:
            self._live.remove_task(self._followed.pop(key))

    def track(self, items: Iterable[Item], label: str) -> Iterator[Item]:
        first = not self._live.live.is_started
        if first:
            self._live.start()
        bar = self._live.add_task(label, total=len(items) if isinstance(items, Sized) else None)
        try:
            for item in items:
                yield item
                self._live.advance(bar)
        finally:
            self._live.remove_task(bar)
            if first:
                self._live.stop()


def choose_progress() -> Progress:
    """One display if standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


def describe(done: int, total: int | None, seconds: float) -> str:
    """The text after a count: `` of 30, 40 s left``."""
    if not total:
        return f", {seconds:.0f} s"
    left = seconds / max(done, 1) * (total - done)
    return f" of {total}, {left:.0f} s left"


def duration(seconds: float, decimals: int = 0) -> str:
    """Seconds as a person reads them: ``40 s``, ``12 min``, ``3.5 h``; with ``decimals=1`` ``12.3 s``, ``4.1 min``."""
    if seconds < 120:
        return f"{seconds:.{decimals}f} s"
    return f"{seconds / 60:.{decimals}f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def duration_range(least: float, most: float) -> str:
    """Two durations as a person reads them: ``40 to 70 s``, ``90 s to 12 min``, ``3 min`` where both read alike."""
    low, high = duration(least), duration(most)
    if low == high:
        return high
    number, unit = low.split()
    return f"{number} to {high}" if high.endswith(f" {unit}") else f"{low} to {high}"
