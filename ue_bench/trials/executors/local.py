"""Works on this machine: in this process, or in long-lived worker processes, each with one task at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from multiprocessing.connection import wait
from typing import Any

from ue_bench.trials.executors import Event, Executor, Outcome, Setup, Task, ended
from ue_bench.trials.executors.capacity import count_workers, device_shares, visible_gpus
from ue_bench.trials.executors.worker import Worker

LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # read when a library is loaded


def open_executor(setup: Setup) -> Executor:
    """This process for one worker without a time limit, else worker processes."""
    count = count_workers(setup)
    if count == 1 and setup.time_limit is None:
        return Here(setup)
    return Workers(setup, count)


class Here:
    """Performs tasks in this process. A method that crashes it ends the run; the same command continues."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.given: list[tuple[int, Task]] = []

    def free(self) -> int:
        return 1 - len(self.given)

    def start(self, number: int, task: Task) -> None:
        self.given.append((number, task))

    def wait(self, seconds: float) -> list[Event]:
        if not self.given:
            time.sleep(seconds)
            return []
        number, task = self.given.pop()
        return [Event(number, "ended", self.setup.perform(task, self.setup.progress))]

    def stop(self, number: int) -> None:
        """Does nothing: a task runs only while the caller waits for it."""

    def close(self) -> None:
        self.given.clear()


class Workers:
    """Worker processes. They start when there is a task for them and stay until the end.

    A task that found no memory left on a GPU that it shared is done once more while no other worker is there.
    """

    def __init__(self, setup: Setup, count: int):
        self.idle = [
            Worker(setup.perform, variables=_variables(setup, number)) for number in reversed(range(count))
        ]
        self.shares = dict(zip(reversed(self.idle), device_shares(setup.environment, count), strict=True))
        self.busy: dict[int, Worker] = {}
        self.tasks: dict[int, Task] = {}  # of these workers, and of those that are still starting up
        self.started: set[int] = set()
        self.alone: set[str] = set()  # names of tasks that need a GPU for themselves
        self.held: list[tuple[int, Task]] = []  # such tasks, until all other workers are idle

    def free(self) -> int:
        alone = any(task.name in self.alone for task in self.tasks.values())
        return 0 if self.held or alone else len(self.idle)

    def start(self, number: int, task: Task) -> None:
        if task.name in self.alone:
            self.held.append((number, task))
        else:
            self._give(number, task)

    def wait(self, seconds: float) -> list[Event]:
        if self.held and not self.busy:
            for worker in self.idle:  # they keep memory of the GPU
                worker.end()
            self._give(*self.held.pop(0))
        if not self.busy:
            time.sleep(seconds)
            return []
        ready = wait([worker.connection for worker in self.busy.values()], seconds)
        numbers = [number for number, worker in self.busy.items() if worker.connection in ready]
        return [event for number in numbers for event in self._receive(number)]

    def stop(self, number: int) -> None:
        self.busy[number].end()
        self._release(number)

    def close(self) -> None:
        for worker in (*self.busy.values(), *self.idle):
            worker.end()
        self.busy.clear()

    def _give(self, number: int, task: Task) -> None:
        """Gives a task to a worker, or starts one, which takes it when it is ready."""
        worker = self.idle.pop()
        self.busy[number], self.tasks[number] = worker, task
        worker.start()
        if worker.ready:
            self._send(number, worker)

    def _send(self, number: int, worker: Worker) -> None:
        task = self.tasks[number]
        share = 1.0 if task.name in self.alone else self.shares[worker]
        worker.send(task, share)  # a worker that is gone is found so in wait

    def _receive(self, number: int) -> list[Event]:
        worker = self.busy[number]
        message = worker.receive()
        if message is None:
            outcome, again = worker.lost()
            begun = number in self.started
            self._release(number)
            return [Event(number, "lost", why=(outcome.error or {})["message"], again=again, begun=begun)]
        kind, content = message
        return self._answer(number, worker, kind, content)

    def _answer(self, number: int, worker: Worker, kind: str, content: Any) -> list[Event]:
        if kind == "error":
            raise content
        if kind == "ready":
            self._send(number, worker)
            return []
        if kind == "ended":
            assert isinstance(content, Outcome)
            return [ended(number, content, self._release(number).name, self.alone)]
        if kind == "said":
            return [Event(number, "said", line=content)]
        if kind == "followed":
            label, count, total = content
            return [Event(number, "followed", line=label, count=count, total=total)]
        self.started.add(number)
        return [Event(number, "started")]

    def _release(self, number: int) -> Task:
        self.started.discard(number)
        self.idle.append(self.busy.pop(number))
        return self.tasks.pop(number)


def _variables(setup: Setup, number: int) -> Mapping[str, str]:
    """A worker's environment: its share of threads, and its GPU where there are several."""
    gpus = visible_gpus(setup.environment)
    found = dict.fromkeys(LIBRARIES, str(setup.environment.threads))
    if len(gpus) > 1:
        found["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return found
