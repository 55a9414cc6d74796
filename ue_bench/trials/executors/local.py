"""Works through the tasks on this machine, one after another.

Without a time limit, in this process. With one, in a worker process beside it, which is ended when a task takes
longer: a method that hangs or crashes then fails its own trials only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait

from ue_bench.errors import UEBenchError
from ue_bench.trials.executors import Outcome, Task

Perform = Callable[[Task], Outcome]


def execute(tasks: list[Task], perform: Perform, time_limit: float | None) -> Iterator[tuple[Task, Outcome]]:
    """Yields each task with its outcome the moment it ends, in the order given.

    Args:
        tasks: what is to be done.
        perform: does one; must survive pickle if there is a time limit.
        time_limit: seconds that one task may take, or None.
    """
    failed: dict[str, Outcome] = {}
    worker = Worker(perform, time_limit) if time_limit is not None else None
    try:
        for task in tasks:
            if task.needs in failed:
                yield task, Outcome("blocked", error=failed[task.needs].error)
                continue
            outcome = worker.perform(task) if worker else perform(task)
            if task.kind == "protect" and outcome.status != "done":
                failed[task.trial.noise_key] = outcome
            yield task, outcome
    finally:
        if worker:
            worker.end()


class Worker:
    """A process that performs one task after another; a new one takes its place when it is lost."""

    def __init__(self, perform: Perform, time_limit: float):
        self.perform_task, self.time_limit = perform, time_limit
        self.process: multiprocessing.process.BaseProcess | None = None

    def perform(self, task: Task) -> Outcome:
        """The task's outcome; a failed one if it takes too long or takes the process down."""
        if self.process is None:
            self._start()
        assert self.process is not None
        self.connection.send(task)
        try:
            if not self.connection.poll(self.time_limit):
                self.end()
                return _failed("TimeoutError", f"it took longer than time_limit={self.time_limit:g} seconds")
            answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode or 0
            cause = f"killed by signal {-code}, perhaps out of memory" if code < 0 else f"exit status {code}"
            self.end()
            return _failed("ProcessError", f"it took its process down ({cause})")
        if isinstance(answer, Outcome):
            return answer
        raise answer

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, self.perform_task), daemon=True)
        self.process.start()
        theirs.close()
        self.connection.recv()  # it is ready: starting up is not the task's time


def _serve(connection: Connection, perform: Perform) -> None:
    """The worker's loop: answers each task with its outcome, or with the error that ends the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send("ready")
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer: Outcome | UEBenchError = perform(task)
        except UEBenchError as error:
            answer = error
        connection.send(answer)


def _end_with_parent() -> None:
    """Ends this process the moment its parent is gone, killed though it may be, whatever is being done here."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _failed(kind: str, message: str) -> Outcome:
    return Outcome("failed", error={"kind": kind, "message": message})
