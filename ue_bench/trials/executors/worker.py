"""A process that performs one task after another, and a pipe to it.

Each worker has a pipe of its own and no lock in common with others, so that a worker which is killed at any moment
harms no other.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from multiprocessing.connection import Connection, wait
from typing import Any

from ue_bench.clock import share_device
from ue_bench.errors import UEBenchError
from ue_bench.progress import Item, Progress
from ue_bench.trials.executors import Outcome, Perform, Task

PAUSE = 0.5  # seconds between two messages about the progress of a loop


class Worker:
    """A worker process; a new one takes its place when it is lost.

    Args:
        perform: does a task.
        time_limit: how many seconds ``perform`` waits for a task; None: without end.
        variables: environment variables that differ from this process's.
    """

    def __init__(
        self, perform: Perform, time_limit: float | None = None, variables: Mapping[str, str] | None = None
    ):
        self.perform_task, self.time_limit = perform, time_limit
        self.variables = dict(variables or {})
        self.process: multiprocessing.process.BaseProcess | None = None
        self.ready = False

    def start(self) -> None:
        """Starts the process if there is none; its first message says that it is ready."""
        if self.process is not None:
            return
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, self.perform_task), daemon=True)
        self.ready = False
        with _variables(self.variables), _without_main():
            self.process.start()
        theirs.close()

    def send(self, task: Task, share: float = 1.0) -> bool:
        """Sends it a task, and the share of its device that it has for it; returns False if the process is gone."""
        try:
            self.connection.send((task, share))
        except OSError:
            return False
        return True

    def receive(self) -> tuple[str, Any] | None:
        """The next message (ready, started, said, followed, ended, error) and its content; None from a lost process."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.ready = True
        return kind, content

    def perform(self, task: Task) -> Outcome:
        """Does a task and waits for its outcome, which is a failure if it takes too long or crashes the process."""
        self.start()
        while not self.ready:  # the time to start up does not count for the task
            if self.receive() is None:
                return self.lost()[0]
        end = None if self.time_limit is None else time.monotonic() + self.time_limit
        self.send(task)
        while True:
            if not self.connection.poll(None if end is None else max(0.0, end - time.monotonic())):
                self.end()
                return late(self.time_limit or 0)
            message = self.receive()
            if message is None:
                return self.lost()[0]
            if message[0] == "error":
                raise message[1]
            if message[0] == "ended":
                return message[1]

    def lost(self) -> tuple[Outcome, bool]:
        """(the outcome of the task of a process that is gone, whether another attempt may succeed)."""
        code = 0
        if self.process is not None:
            self.process.join(5)
            code = self.process.exitcode or 0
        self.end()
        cause = f"killed by signal {-code}, perhaps out of memory" if code < 0 else f"exit status {code}"
        return failed("ProcessError", f"it took its process down ({cause})"), code < 0

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None


class Relay(Progress):
    """Sends progress to the parent."""

    def __init__(self, send: Callable[[tuple[str, Any]], object]):
        self.send = send

    def say(self, line: str) -> None:
        self.send(("said", line))

    def track(self, items: Iterable[Item], label: str) -> Iterator[Item]:
        total = len(items) if isinstance(items, Sized) else None
        last, shown = time.monotonic(), False
        for count, item in enumerate(items):
            if (now := time.monotonic()) - last >= PAUSE:
                last, shown = now, True
                self.send(("followed", (label, count, total)))
            yield item
        if shown:
            self.send(("followed", (label, None, total)))


def _serve(connection: Connection, perform: Perform) -> None:
    """The worker's loop: answers each task with its outcome, or with the error that ends the run."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles these and ends this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(("ready", None))
        while True:
            task, share = connection.recv()
            share_device(share)
            connection.send(("started", None))
            try:
                answer: tuple[str, Any] = "ended", perform(task, Relay(connection.send))
            except UEBenchError as error:
                answer = "error", error
            connection.send(answer)
    except (EOFError, ConnectionError):
        os._exit(1)  # the parent is gone


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, even if the parent was killed while this process works."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _variables(changes: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for processes that start in the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keeps processes that start in the block from running the caller's script again, so that it needs no guard."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


def late(limit: float) -> Outcome:
    """The outcome of a task that took too long."""
    return failed("TimeoutError", f"it took longer than time_limit={limit:g} seconds")


def failed(kind: str, message: str) -> Outcome:
    """The outcome of a task that failed without a Python exception."""
    return Outcome("failed", error={"kind": kind, "message": message})
