"""Which task is next, with an executor that does nothing but report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ue_bench.progress import Progress
from ue_bench.trials.executors import Event, Outcome, Task
from ue_bench.trials.schedule import GLANCE, Schedule
from ue_bench.trials.trial import Choice, Trial

NOTHING = Choice("x", {})
DONE = Outcome("done")


def task(kind: str, noise: str, seed: int = 0) -> Task:
    trial = Trial("supervised", NOTHING, None, noise, "t", NOTHING, NOTHING, NOTHING, {"seed": seed}, 1.0, 0)
    return Task(kind, trial, trial.noise_key if kind == "evaluate" else "")


class Script:
    """Takes two tasks and answers each as it is told, the last one first."""

    def __init__(self, answers=None, slots=2):
        self.answers, self.slots = answers or {}, slots
        self.given, self.begun, self.stopped, self.most = {}, [], [], 0

    def free(self):
        return self.slots - len(self.given)

    def start(self, number, task):
        self.given[number] = task
        self.begun.append(task)
        self.most = max(self.most, len(self.given))

    def wait(self, seconds):
        if not self.given:
            return []
        number, task = self.given.popitem()
        answer = self.answers.get(task.name, [])
        event = answer.pop(0) if answer else Event(0, "ended", DONE)
        if event.kind in ("started", "said"):
            self.given[number] = task
        return [replace(event, number=number)]

    def stop(self, number):
        self.stopped.append(self.given.pop(number))

    def close(self):
        self.closed = True


NOISE, OTHER = task("protect", "a"), task("protect", "b")
TRIALS = [task("evaluate", "a", seed) for seed in range(2)]


def work(answers=None, tasks=(NOISE, *TRIALS, OTHER), slots=2, **more):
    executor = Script(answers, slots)
    schedule = Schedule(list(tasks), executor, Progress(), **more)
    found = [(done.name, outcome) for done, outcome in schedule.work()]
    assert executor.closed
    return dict(found), executor, schedule


def test_noise_comes_before_what_needs_it_and_all_slots_work():
    found, executor, _ = work()
    assert [each.status for each in found.values()] == ["done"] * 4 and executor.most == 2
    names = [each.name for each in executor.begun]
    assert names[:2] == [NOISE.name, OTHER.name], "the trials wait for their noise, the other noise does not"


def test_what_needs_a_failed_noise_is_blocked():
    failed = Outcome("failed", error={"kind": "E", "message": "m"})
    found, executor, _ = work({NOISE.name: [Event(0, "ended", failed)]})
    assert [found[trial.name].status for trial in TRIALS] == ["blocked"] * 2
    assert found[TRIALS[0].name].error == failed.error and len(executor.begun) == 2


@pytest.mark.parametrize(
    ("losses", "again", "status", "attempts"),
    [(2, True, "done", 3), (3, True, "failed", 3), (1, False, "failed", 1)],
)
def test_a_lost_task_is_tried_again_at_most_twice_and_only_if_that_helps(losses, again, status, attempts):
    lost = []
    answers = {OTHER.name: [Event(0, "lost", why="killed by signal 9", again=again)] * losses}
    found, executor, _ = work(answers, lose=lost.append)
    assert found[OTHER.name].status == status and len(lost) == losses
    assert max(each.attempts for each in executor.begun if each.name == OTHER.name) == attempts
    assert {found[each.name].status for each in (NOISE, *TRIALS)} == {"done"}, "nothing else is touched"


def test_a_process_that_is_lost_before_it_begins_is_no_attempt():
    answers = {OTHER.name: [Event(0, "lost", why="killed by signal 9", again=True, begun=False)] * 5}
    found, executor, _ = work(answers)
    assert found[OTHER.name].status == "done" and {each.attempts for each in executor.begun} == {1}
    answers = {OTHER.name: [Event(0, "lost", why="exit status 1", begun=False)] * 99}
    assert work(answers)[0][OTHER.name].error["message"] == "exit status 1", "it does not go on for ever"


def test_a_task_that_takes_too_long_is_stopped_once():
    found, executor, _ = work(
        {NOISE.name: [Event(0, "started"), *[Event(0, "said")] * 10**5]}, time_limit=0.05, tasks=[NOISE]
    )
    assert found[NOISE.name].error["message"] == "it took longer than time_limit=0.05 seconds"
    assert executor.stopped == [NOISE]


def test_what_others_do_is_left_for_later_and_waited_for():
    busy = Event(0, "ended", Outcome("busy", error={"kind": "Busy", "message": "process 7"}))
    found, executor, schedule = work({NOISE.name: [busy, busy]}, slots=1)
    assert {each.status for each in found.values()} == {"done"}
    assert [each.name for each in executor.begun][:2] == [NOISE.name, OTHER.name]
    assert schedule.told == "process 7" and not schedule.left


def test_without_patience_what_others_do_is_left():
    busy = Event(0, "ended", Outcome("busy", error={"kind": "Busy", "message": "process 7"}))
    found, _, schedule = work({NOISE.name: [busy] * 99}, patient=False)
    assert list(found) == [OTHER.name] and {each.name for each in schedule.left} == {
        each.name for each in (NOISE, *TRIALS)
    }


def test_nothing_begins_for_which_there_is_no_time():
    found, executor, schedule = work(may_start=lambda task, longest: task.kind == "protect")
    assert set(found) == {NOISE.name, OTHER.name}
    assert [each.name for each in schedule.left] == [trial.name for trial in TRIALS]
    assert all(each.kind == "protect" for each in executor.begun)


@pytest.mark.parametrize("count", [50, 400])
def test_the_work_of_an_event_does_not_grow_with_the_number_of_tasks(count):
    """Other runs work on half of the noises at first, a quarter of all fails."""
    asked = []

    class Asked(Task):
        def __getattribute__(self, name):
            if name in ("needs", "kind"):
                asked.append(name)
            return super().__getattribute__(name)

    noises, trials = ([task(kind, str(n)) for n in range(count)] for kind in ("protect", "evaluate"))
    tasks = [Asked(each.kind, each.trial, each.needs) for each in (*noises, *trials)]
    busy = Event(0, "ended", Outcome("busy", error={"kind": "Busy", "message": "process 7"}))
    failed = Event(0, "ended", Outcome("failed", error={"kind": "E", "message": "m"}))
    answers = {noise.name: [[busy, failed], [], [busy], []][n % 4] for n, noise in enumerate(noises)}
    asked.clear()
    found, _, schedule = work(answers, tasks=tasks)
    ended = [outcome.status for outcome in found.values()]
    assert ended.count("blocked") == ended.count("failed") >= count // 4 and len(ended) == 2 * count
    assert not schedule.waiting and len(asked) <= 20 * len(tasks)


def test_a_pause_that_is_over_does_not_keep_a_run_busy_while_no_process_is_free():
    """It waits for the next event instead of asking for it again and again."""
    busy = Event(0, "ended", Outcome("busy", error={"kind": "Busy", "message": "process 7"}))
    said = Event(0, "said")
    waited = []

    class Clocked(Script):
        def wait(self, seconds):
            waited.append(seconds)
            return super().wait(seconds)

    executor = Clocked({NOISE.name: [busy], OTHER.name: [said] * 5}, slots=1)
    schedule = Schedule([NOISE, OTHER], executor, Progress())
    schedule.waiting.end_pauses = schedule.waiting.wake  # as if the pause were over at once
    assert {outcome.status for _, outcome in schedule.work()} == {"done"}
    assert min(waited) == GLANCE and len(waited) >= 7


def test_tasks_start_in_their_order_whatever_kept_them_waiting():
    second, third = task("protect", "c"), task("protect", "d")
    lost = Event(0, "lost", why="killed by signal 9", again=True)
    busy = Event(0, "ended", Outcome("busy", error={"kind": "Busy", "message": "process 7"}))
    answers = {NOISE.name: [lost], OTHER.name: [busy]}
    _, executor, _ = work(answers, tasks=[NOISE, OTHER, second, *TRIALS, third], slots=1)
    assert [each.name for each in executor.begun] == [
        each.name for each in (NOISE, NOISE, OTHER, second, *TRIALS, third, OTHER)
    ], "what is lost is first again, what another run works on comes last, trials stand where they stood"
