"""Where the work happens: an executor is a module with ``open_executor``, and only decides where processes run.

The order of tasks, repetitions and time limits are ``trials/schedule.py``'s, claims and records ``trials/work.py``'s.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ue_bench.errors import unknown
from ue_bench.progress import Progress
from ue_bench.trials.environment import Environment
from ue_bench.trials.trial import Trial

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Task:
    """One piece of work, small enough to be sent anywhere.

    Attributes:
        kind: ``protect`` (noise once) or ``evaluate`` (a victim on it).
        trial: the trial whose noise is made, or that is evaluated.
        needs: the noise key that must exist before an ``evaluate`` starts.
        labels: the part of the plan's entry that the trial's record keeps.
        failed: when the trial failed before this run, by its record; "" if it did not.
        attempts: the number of this attempt, from 1.
    """

    kind: str
    trial: Trial
    needs: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    failed: str = ""
    attempts: int = 1

    @property
    def name(self) -> str:
        """The name under which it is claimed."""
        return f"noise-{self.trial.noise_key}" if self.kind == "protect" else f"trial-{self.trial.id}"


@dataclass(frozen=True)
class Outcome:
    """How a task ended. Its noise or record is in the store by then.

    Attributes:
        status: ``done``, ``failed``, ``blocked`` (what it needs has failed), ``busy`` (another run works on it or on
            what it needs: ask again later), or ``crowded`` (a device that it shares has no memory left: do it again
            with a device of its own).
        found: the result of a measurement.
        error: kind and message of a failure; for a busy task, who works on it.
        elsewhere: whether another run did it.
    """

    status: str
    found: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    elsewhere: bool = False


Perform = Callable[[Task, Progress], Outcome]  # must survive pickle


@dataclass(frozen=True)
class Event:
    """Something that happened to a task.

    Attributes:
        number: the number of the task.
        kind: ``started`` (its time runs), ``ended``, ``lost`` (its process is gone), ``said`` (it prints a line),
            ``followed`` (a loop in it has progressed).
        outcome: the outcome, if it ended.
        why: why it was lost, in words.
        again: whether a lost task may succeed at another attempt.
        begun: whether a lost task had been started.
        line: the line that it prints, or the label of the loop.
        count, total: the progress of the loop; ``count`` None: the loop has ended.
    """

    number: int
    kind: str
    outcome: Outcome | None = None
    why: str = ""
    again: bool = False
    begun: bool = True
    line: str = ""
    count: int | None = None
    total: int | None = None


def ended(number: int, outcome: Outcome, name: str, alone: set[str]) -> Event:
    """The event of an ended task; a crowded one counts as lost, and its ``name`` joins ``alone``."""
    if outcome.status != "crowded":
        return Event(number, "ended", outcome)
    alone.add(name)
    why = f"{(outcome.error or {}).get('message')}, on a GPU that it shared; now it gets a GPU for itself"
    return Event(number, "lost", why=why, again=True)


class Executor(Protocol):
    """Processes that perform tasks. Its methods are called from one thread."""

    def free(self) -> int:
        """How many more tasks it accepts now."""

    def start(self, number: int, task: Task) -> None:
        """Hands over a task under a number that no other task has."""

    def wait(self, seconds: float) -> list[Event]:
        """The events since the last call, in order; waits up to ``seconds`` for the first one.

        Raises:
            UEBenchError: if the run cannot go on, such as with a store that cannot be written.
        """

    def stop(self, number: int) -> None:
        """Ends the process that performs a task, and forgets the task."""

    def close(self) -> None:
        """Ends all processes, whatever they are doing."""


@dataclass(frozen=True)
class Resources:
    """The resources that each trial gets on a cluster.

    Attributes:
        address: the cluster's address: ``auto``, ``local`` or ``HOST:PORT``.
        gpus: number or share of GPUs, as text; ``auto``: a share by measured memory; "": one if the cluster has GPUs.
        cpus: number of CPUs; None: as many as threads.
    """

    address: str = "auto"
    gpus: str = ""
    cpus: float | None = None


@dataclass(frozen=True)
class Setup:
    """What an executor needs to know.

    Attributes:
        perform: does a task.
        environment: where tasks are done.
        workers: number of processes; None: as many as the machine has room for.
        tasks: number of tasks to do.
        time_limit: seconds that a task may take, or None; a task in this process cannot be stopped.
        peak_bytes: device type -> the most memory that a task took there, where that is known.
        resources: what a trial gets on a cluster.
        progress: shows the run's progress, and that of a task in this process.
    """

    perform: Perform
    environment: Environment
    workers: int | None = None
    tasks: int = 1
    time_limit: float | None = None
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    resources: Resources = Resources()
    progress: Progress = field(default_factory=Progress)


def find_executor(name: str) -> Callable[[Setup], Executor]:
    """The ``open_executor`` function of that executor.

    Raises:
        ConfigError: if there is none of that name, or a library that it needs is not installed.
    """
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    module = importlib.import_module(f"{__name__}.{name}")
    if hasattr(module, "check_installed"):
        module.check_installed()
    found: Callable[[Setup], Executor] = module.open_executor
    return found
