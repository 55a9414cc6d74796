"""Decides which task is next: noise before what needs it, claimed work later, lost tasks again, none too late."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ue_bench.progress import Progress
from ue_bench.trials.executors import Event, Executor, Outcome, Task
from ue_bench.trials.executors.worker import failed, late

ATTEMPTS = 3  # how often a task is tried whose process is lost
STARTS = 10  # how many processes may be lost before they begin a task
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0  # seconds until a task that another run works on is tried again
GLANCE = 0.5  # seconds between two looks at the clock


@dataclass(eq=False)
class Waiting:
    """A task that is not running.

    Attributes:
        task: the task.
        pause: seconds to wait the next time that another run works on it.
        ready: when it may be started, by ``time.monotonic``.
        busy: which other run works on it, or "".
        begun: when it was last started.
        starts: how many processes were lost before they began it.
    """

    task: Task
    pause: float = FIRST_PAUSE
    ready: float = 0.0
    busy: str = ""
    begun: float = 0.0
    starts: int = 0


class Schedule:
    """Works through tasks.

    Args:
        tasks: in the preferred order; each noise before what needs it.
        executor: performs the tasks.
        progress: shows their lines and loops.
        time_limit: seconds that a running task may take, or None.
        may_start: (task, the longest seconds of its kind so far) -> whether there is time for it; None: always.
        lose: called with a task whose process is lost.
        patient: whether to wait at the end for work that other runs do.

    Attributes:
        left: tasks that were not started.
    """

    def __init__(
        self,
        tasks: list[Task],
        executor: Executor,
        progress: Progress,
        time_limit: float | None = None,
        may_start: Callable[[Task, float], bool] | None = None,
        lose: Callable[[Task], object] = lambda task: None,
        patient: bool = True,
    ):
        self.waiting = [Waiting(task) for task in tasks]
        self.executor, self.progress, self.time_limit = executor, progress, time_limit
        self.may_start, self.lose, self.patient = may_start, lose, patient
        self.running: dict[int, Waiting] = {}
        self.deadlines: dict[int, float] = {}
        self.noises: dict[str, Outcome] = {}
        self.left: list[Task] = []
        self.longest: defaultdict[str, float] = defaultdict(float)  # seconds by kind
        self.count = 0
        self.told = ""

    def work(self) -> Iterator[tuple[Task, Outcome]]:
        """Yields each task with its outcome as soon as it ends: done, failed or blocked."""
        try:
            while self.waiting or self.running:
                yield from self._blocked()
                self._hand_out()
                if not self.running and (not self.waiting or self._give_up()):
                    break
                for event in self.executor.wait(self._seconds()):
                    yield from self._heed(event)
                yield from self._end_late()
        finally:
            self.executor.close()

    def _blocked(self) -> Iterator[tuple[Task, Outcome]]:
        lost = {key: made for key, made in self.noises.items() if made.status == "failed"}
        if lost:
            for each in [each for each in self.waiting if each.task.needs in lost]:
                self.waiting.remove(each)
                made = lost[each.task.needs]
                yield each.task, Outcome("blocked", error=made.error, elsewhere=made.elsewhere)

    def _hand_out(self) -> None:
        free = self.executor.free()
        for each in list(self.waiting):
            if free == 0:
                return
            if each.ready > time.monotonic() or (each.task.needs and each.task.needs not in self.noises):
                continue
            self.waiting.remove(each)
            if self.may_start is not None and not self.may_start(each.task, self.longest[each.task.kind]):
                self.left.append(each.task)
                continue
            self.count += 1
            each.begun = time.monotonic()
            self.running[self.count] = each
            self.executor.start(self.count, each.task)
            free -= 1

    def _give_up(self) -> bool:
        """Whether this run ends now because only work of other runs, and what waits for that, is left."""
        stuck = [each for each in self.waiting if each.busy]
        if stuck and self.patient:
            who = " and ".join(sorted({each.busy for each in stuck}))
            if who != self.told:
                self.progress.say(f"    {len(self.waiting)} noises and trials wait for {who}")
                self.told = who
            return False
        if stuck or not any(each.ready > time.monotonic() for each in self.waiting):
            self.left += [each.task for each in self.waiting]
            self.waiting.clear()
            return True
        return False

    def _seconds(self) -> float:
        """How long to wait for the next event."""
        now = time.monotonic()
        moments = [*self.deadlines.values(), *(each.ready for each in self.waiting if each.busy)]
        return max(0.0, min([GLANCE, *(moment - now for moment in moments)]))

    def _heed(self, event: Event) -> Iterator[tuple[Task, Outcome]]:
        each = self.running.get(event.number)
        if each is None:
            return
        if event.kind == "started" and self.time_limit is not None:
            self.deadlines[event.number] = time.monotonic() + self.time_limit
        elif event.kind == "said":
            self.progress.say(event.line)
        elif event.kind == "followed":
            self.progress.follow(event.number, event.line, event.count, event.total)
        elif event.kind == "lost":
            self._forget(event.number)
            self.lose(each.task)
            if not event.begun and each.starts < STARTS:
                each.starts += 1
                self.waiting.insert(0, each)
            elif event.again and each.task.attempts < ATTEMPTS:
                again = dataclasses.replace(each.task, attempts=each.task.attempts + 1)
                self.waiting.insert(0, Waiting(again))
                self.progress.say(f"    {again.name}: {event.why}; it is tried again")
            else:
                yield from self._finish(each, failed("ProcessError", event.why))
        elif event.kind == "ended" and event.outcome is not None:
            self._forget(event.number)
            yield from self._finish(each, event.outcome)

    def _end_late(self) -> Iterator[tuple[Task, Outcome]]:
        now = time.monotonic()
        for number in [number for number, end in self.deadlines.items() if end <= now]:
            each = self.running[number]
            self._forget(number)
            self.executor.stop(number)
            self.lose(each.task)
            yield from self._finish(each, late(self.time_limit or 0))

    def _finish(self, each: Waiting, outcome: Outcome) -> Iterator[tuple[Task, Outcome]]:
        if outcome.status == "busy":
            each.busy = (outcome.error or {}).get("message", "")
            each.ready, each.pause = time.monotonic() + each.pause, min(2 * each.pause, LONGEST_PAUSE)
            self.waiting.append(each)
            return
        spent = time.monotonic() - each.begun
        self.longest[each.task.kind] = max(self.longest[each.task.kind], spent)
        for other in self.waiting:
            if other.busy:  # it may have waited for what has just been done
                other.ready, other.pause = 0.0, FIRST_PAUSE
        if each.task.kind == "protect":
            self.noises[each.task.trial.noise_key] = outcome
        yield each.task, outcome

    def _forget(self, number: int) -> None:
        del self.running[number]
        self.deadlines.pop(number, None)
        self.progress.follow(number, "", None, None)
