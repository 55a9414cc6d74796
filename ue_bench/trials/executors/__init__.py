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
        trial: whose noise, or which trial.
        needs: the noise key that must exist before an ``evaluate`` starts.
        labels: what the plan says of the trial and its record keeps.
        failed: when the trial had failed before this run, as its record says, or "".
        attempts: which attempt this is, from 1.
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
    """What became of a task. Noise and records are in the store by then.

    Attributes:
        status: ``done``, ``failed``, ``blocked`` (what it needs has failed), ``busy`` (somebody else works on it, or on
            what it needs: to be asked for again later), or ``crowded`` (no memory is left on a device that it shares:
            to be done again alone).
        found: what a measurement found.
        error: kind and message of a failure; of a busy task who works on it.
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
        number: the task's.
        kind: ``started`` (its time runs), ``ended``, ``lost`` (its process is gone), ``said`` (a line), ``followed``
            (how far a loop in it is).
        outcome: of an ended one.
        why: of a lost one, in words.
        again: whether a lost one may go well another time.
        begun: whether a lost one had been started.
        line: what it said; of a loop its label.
        count, total: of a loop; count None: the loop has ended.
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


class Executor(Protocol):
    """Processes that perform tasks. Its methods are called from one thread."""

    def free(self) -> int:
        """How many tasks it takes now."""

    def start(self, number: int, task: Task) -> None:
        """Gives it a task under a number of its own."""

    def wait(self, seconds: float) -> list[Event]:
        """What has happened since, in order; waits so long at most if nothing has.

        Raises:
            UEBenchError: what ends the run, such as a store that cannot be written.
        """

    def stop(self, number: int) -> None:
        """Ends the process that performs a task, and forgets the task."""

    def close(self) -> None:
        """Ends all processes, whatever they are doing."""


@dataclass(frozen=True)
class Resources:
    """What a trial gets of a cluster.

    Attributes:
        address: of the cluster: ``auto``, ``local`` or ``HOST:PORT``.
        gpus: how many, or a share of one, as text; ``auto``: a share by measured memory; "": one where there are GPUs.
        cpus: how many; None: as many as threads.
    """

    address: str = "auto"
    gpus: str = ""
    cpus: float | None = None


@dataclass(frozen=True)
class Setup:
    """What an executor needs to know.

    Attributes:
        perform: does a task.
        environment: in which it is done.
        workers: how many processes, or None: as many as the machine has room for.
        tasks: how many there are to do.
        time_limit: seconds that a task may take, or None; a task in this process cannot be stopped.
        peak_bytes: memory that a task took at most, by type of device, as far as that is known.
        resources: of a cluster.
        progress: of the run; a task in this process shows its progress there.
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
