"""Works through the tasks in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ue_bench.trials.executors import Outcome, Task


def execute(tasks: list[Task], perform: Callable[[Task], Outcome]) -> Iterator[tuple[Task, Outcome]]:
    """Yields each task with its outcome the moment it ends, in the order given."""
    failed: dict[str, Outcome] = {}
    for task in tasks:
        if task.needs in failed:
            yield task, Outcome("blocked", error=failed[task.needs].error)
            continue
        outcome = perform(task)
        if task.kind == "protect" and outcome.status != "done":
            failed[task.trial.noise_key] = outcome
        yield task, outcome
