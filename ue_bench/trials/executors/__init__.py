"""Where the work happens: one module an executor, each with a function ``execute``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ue_bench.errors import unknown
from ue_bench.trials.trial import Trial

EXECUTORS = ("local",)


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        kind: ``protect`` (noise once) or ``evaluate`` (a victim on it).
        trial: whose noise, or which trial.
        needs: the noise key that must exist before an ``evaluate`` starts.
    """

    kind: str
    trial: Trial
    needs: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        status: ``done``, ``failed``, or ``blocked`` (what it needs has failed).
        found: what an ``evaluate`` measured.
        error: kind and message of a failure.
    """

    status: str
    found: dict[str, Any] | None = None
    error: dict[str, str] | None = None


Execute = Callable[[list[Task], Callable[[Task], Outcome], float | None], Iterator[tuple[Task, Outcome]]]


def find_executor(name: str) -> Execute:
    """The ``execute`` function of that executor: (tasks, perform, time limit) -> (task, outcome) as they end."""
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    execute: Execute = importlib.import_module(f"{__name__}.{name}").execute
    return execute
