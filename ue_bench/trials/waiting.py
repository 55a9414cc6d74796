"""Tasks that wait: for their turn, for noise that is not made yet, or for another run that works on them."""

from __future__ import annotations

import heapq
import itertools
import operator
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ue_bench.trials.executors import Task

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0  # seconds until a task that another run works on is tried again


@dataclass(eq=False)
class Waiting:
    """A task that is not running.

    Attributes:
        task: the task.
        pause: seconds to wait the next time that another run works on it.
        busy: which other run works on it, or "".
        begun: when it was last started, by ``time.monotonic``.
        starts: how many processes were lost before they began it.
        place: tasks start in the order of their places.
        woken: how often the queue had been woken when it began to wait.
    """

    task: Task
    pause: float = FIRST_PAUSE
    busy: str = ""
    begun: float = 0.0
    starts: int = 0
    place: int = 0
    woken: int = 0


PLACE = operator.attrgetter("place")


class Queue:
    """Waiting tasks. Each step costs the same for few tasks as for many, but for the logarithm in a heap.

    Args:
        tasks: in the preferred order.
    """

    def __init__(self, tasks: Iterable[Task]):
        self._last, self._first = itertools.count(), itertools.count(-1, -1)
        self._startable: list[tuple[int, Waiting]] = []  # a heap by place
        self._paused: list[tuple[float, int, Waiting]] = []  # a heap by the moment at which the pause ends
        self._needing: dict[str, list[Waiting]] = {}  # by the noise that is not made yet
        self._made: set[str] = set()
        self._woken = 0
        for task in tasks:
            self._add(Waiting(task, place=next(self._last)))

    def __iter__(self) -> Iterator[Waiting]:
        """All of them, in order."""
        startable, paused = ([each for *_, each in heap] for heap in (self._startable, self._paused))
        return iter(sorted(itertools.chain(startable, paused, *self._needing.values()), key=PLACE))

    def __bool__(self) -> bool:
        return bool(self._startable or self._paused or self._needing)

    def add_first(self, each: Waiting) -> None:
        """Puts a task before all others."""
        each.place, each.woken = next(self._first), self._woken
        self._add(each)

    def pause(self, each: Waiting, busy: str) -> None:
        """Puts a task behind all others for a while, since the run ``busy`` works on it; each time for longer."""
        each.busy, each.place, each.woken = busy or "another run", next(self._last), self._woken
        heapq.heappush(self._paused, (time.monotonic() + each.pause, each.place, each))
        each.pause = min(2 * each.pause, LONGEST_PAUSE)

    def wake(self) -> None:
        """Ends all pauses: what has just been done may be what others waited for."""
        self._woken += 1
        for _, _, each in self._paused:
            self._add(each)
        self._paused.clear()

    def end_pauses(self) -> None:
        """Ends the pauses whose time is over."""
        while self._paused and self._paused[0][0] <= time.monotonic():
            self._add(heapq.heappop(self._paused)[-1])

    def pause_ends(self) -> float | None:
        """When the next pause ends, by ``time.monotonic``; None without any."""
        return self._paused[0][0] if self._paused else None

    def take(self) -> Waiting | None:
        """The first task that may start, which waits no longer; None if there is none."""
        if not self._startable:
            return None
        _, each = heapq.heappop(self._startable)
        if each.woken != self._woken:
            each.pause = FIRST_PAUSE
        return each

    def take_needing(self, noises: Iterable[str]) -> list[Waiting]:
        """The tasks that need one of these noises, which are not made, in order; they wait no longer."""
        needing = itertools.chain.from_iterable(self._needing.pop(noise, []) for noise in noises)
        return sorted(needing, key=PLACE)

    def note_made(self, noise: str) -> None:
        """From now on, what needs this noise may start."""
        self._made.add(noise)
        for each in self._needing.pop(noise, []):
            self._add(each)

    def clear(self) -> list[Waiting]:
        """All of them, in order; none waits any longer."""
        waiting = list(self)
        self._startable, self._paused, self._needing = [], [], {}
        return waiting

    def _add(self, each: Waiting) -> None:
        if each.task.needs and each.task.needs not in self._made:
            self._needing.setdefault(each.task.needs, []).append(each)
        else:
            heapq.heappush(self._startable, (each.place, each))
