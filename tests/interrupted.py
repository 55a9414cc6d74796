"""Work that is interrupted after a number of checkpoints, and goes on from the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.progress import Progress
from ue_bench.trials.states import States
from ue_bench.trials.store import Store


class Interrupted(States):
    """States in a store; Ctrl-C comes after some of them were written."""

    def __init__(self, folder: Path, after: int | None = None):
        super().__init__(Store(folder))
        self.__dict__.update(after=after, written=[])

    def save(self, name, state):
        super().save(name, state)
        self.written.append(name)
        if len(self.written) == self.after:
            raise KeyboardInterrupt


class Saying(Progress):
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def each_step(place: States, clock: Clock, **more: Any) -> Checkpoints:
    """Checkpoints between any two items of any loop; ``ue_bench.checkpoints.SHARE`` must be 0."""
    return Checkpoints(place, clock, "trial-x", minutes=1e-9, **more)


def in_pieces(folder: Path, work: Callable[[Interrupted], Any], after: int) -> tuple[Any, int]:
    """(the result of work that is interrupted after every so many checkpoints, how often it was)."""
    for times in range(1000):
        try:
            return work(Interrupted(folder, after)), times
        except KeyboardInterrupt:
            continue
    raise AssertionError("it never ends")
