"""Decides which task is next: noise before what needs it, claimed work later, lost tasks again, none too late."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from ue_bench.progress import Progress
from ue_bench.trials.executors import Event, Executor, Outcome, Task
from ue_bench.trials.executors.worker import failed, late
from ue_bench.trials.waiting import Queue, Waiting

ATTEMPTS = 3  # how often a task is tried whose process is lost
STARTS = 10  # how many processes may be lost before they begin a task
GLANCE = 0.5  # seconds between two looks at the clock


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
        self.waiting = Queue(tasks)
        self.executor, self.progress, self.time_limit = executor, progress, time_limit
        self.may_start, self.lose, self.patient = may_start, lose, patient
        self.running: dict[int, Waiting] = {}
        self.deadlines: dict[int, float] = {}
        self.failed: dict[str, Outcome] = {}  # noises, until what needs them is blocked
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
        failed, self.failed = self.failed, {}
        for each in self.waiting.take_needing(failed):
            made = failed[each.task.needs]
            yield each.task, Outcome("blocked", error=made.error, elsewhere=made.elsewhere)

    def _hand_out(self) -> None:
        self.waiting.end_pauses()
        free = self.executor.free()
        while free > 0 and (each := self.waiting.take()):
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
        who = " and ".join(sorted({each.busy for each in self.waiting if each.busy}))
        if who and self.patient:
            if who != self.told:
                self.progress.say(f"    {len(list(self.waiting))} noises and trials wait for {who}")
                self.told = who
            return False
        self.left += [each.task for each in self.waiting.clear()]
        return True

    def _seconds(self) -> float:
        """How long to wait for the next event."""
        now, pause_ends = time.monotonic(), self.waiting.pause_ends()
        moments = [*self.deadlines.values(), *([] if pause_ends is None else [pause_ends])]
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
                self.waiting.add_first(each)
            elif event.again and each.task.attempts < ATTEMPTS:
                again = dataclasses.replace(each.task, attempts=each.task.attempts + 1)
                self.waiting.add_first(Waiting(again))
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
            self.waiting.pause(each, (outcome.error or {}).get("message", ""))
            return
        spent = time.monotonic() - each.begun
        self.longest[each.task.kind] = max(self.longest[each.task.kind], spent)
        self.waiting.wake()
        if each.task.kind == "protect" and outcome.status == "failed":
            self.failed[each.task.trial.noise_key] = outcome
        elif each.task.kind == "protect":
            self.waiting.note_made(each.task.trial.noise_key)
        yield each.task, outcome

    def _forget(self, number: int) -> None:
        del self.running[number]
        self.deadlines.pop(number, None)
        self.progress.follow(number, "", None, None)
