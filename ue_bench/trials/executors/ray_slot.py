"""What runs in a process of a Ray cluster: one task after another, and a check of what the process sees."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ue_bench.clock import share_device
from ue_bench.errors import UEBenchError
from ue_bench.provenance import commit, versions
from ue_bench.trials.environment import Environment
from ue_bench.trials.executors import Perform, Task
from ue_bench.trials.executors.worker import Relay
from ue_bench.trials.store import Store

LOOKS = 10  # attempts, half a second apart, to find a new file in a store that may show it late


@dataclass(frozen=True)
class Question:
    """A question that every process of the cluster must answer like the process that started the run.

    Attributes:
        store: the address of the store.
        nonce: the name and the content of a file in the store's ``claims``.
        plugins: files and folders with more content.
        folder: the folder in which the run was started; relative paths start there.
    """

    store: str
    nonce: tuple[str, bytes]
    plugins: tuple[str, ...]
    folder: str

    @classmethod
    def about(cls, environment: Environment, nonce: tuple[str, bytes]) -> Question:
        """The question about the store and the plug-ins of an environment."""
        return cls(environment.store, nonce, environment.plugins, os.getcwd())


@dataclass(frozen=True)
class Answer:
    """What a process sees.

    Attributes:
        host: the name of its machine.
        store: what is wrong with the store as it sees it, or "".
        versions: versions of the software, and ue-bench's commit.
        plugins: file -> digest of its content, "" for one that cannot be read.
        gpu: the GPU that Ray gave it, or "".
    """

    host: str
    store: str
    versions: Mapping[str, str]
    plugins: Mapping[str, str]
    gpu: str = ""

    def differs(self, mine: Answer) -> str:
        """How it differs from the answer of the process that asked, in words; "" if it does not."""
        found = [self.store] if self.store else []
        for name in sorted({*self.versions, *mine.versions}):
            here, there = mine.versions.get(name, "absent"), self.versions.get(name, "absent")
            if here != there:
                found.append(f"{name} is {there} there and {here} here")
        for path in sorted({*self.plugins, *mine.plugins}):
            if self.plugins.get(path, "") != mine.plugins.get(path, ""):
                found.append(
                    f"the plug-in {path} {'differs' if self.plugins.get(path) else 'is absent'} there"
                )
        return "; ".join(found)


class Slot:
    """An actor: a process that performs tasks, one at a time, and keeps its data and device between them.

    Args:
        perform: does a task.
        question: the question to answer first.
        variables: environment variables that differ from its node's.
        share: the share of a device that it has.
    """

    def __init__(self, perform: Perform, question: Question, variables: Mapping[str, str], share: float):
        os.environ.update(variables)
        share_device(share)
        self.perform, self.question = perform, question
        self.messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def look(self) -> Answer:
        """Answers the question."""
        import ray

        return look(self.question, ",".join(map(str, ray.get_gpu_ids())))

    def work(self, task: Task) -> None:
        """Does a task; ``hear`` returns its messages, the last of them its outcome."""
        self.messages.put(("started", None))
        try:
            self.messages.put(("ended", self.perform(task, Relay(self.messages.put))))
        except UEBenchError as error:
            self.messages.put(("error", error))

    def hear(self, seconds: float) -> list[tuple[str, Any]]:
        """The messages since the last call; waits up to ``seconds`` for the first one."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self.messages.get(timeout=seconds))
            while True:
                found.append(self.messages.get_nowait())
        return found


def look(question: Question, gpu: str = "") -> Answer:
    """Answers a question in this process."""
    with contextlib.suppress(OSError):
        os.chdir(question.folder)
    told = {**versions(), "the commit of ue-bench": commit() or "unknown"}
    files = {str(file): _digest(file) for path in question.plugins for file in _files(Path(path))}
    return Answer(socket.gethostname(), _look_at_store(question), told, files, gpu)


def device_bytes() -> int:
    """The memory of the smallest GPU that this process sees, in bytes; 0 without one."""
    properties = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
    return min((each.total_memory for each in properties), default=0)


def _look_at_store(question: Question) -> str:
    name, content = question.nonce
    found = None
    try:
        for _ in range(LOOKS):
            found = Store(question.store).read("claims", name)
            if found is not None:
                break
            time.sleep(0.5)
    except (UEBenchError, OSError) as error:
        return f"it cannot read the store {question.store} ({error})"
    if found == content:
        return ""
    return f"it does not see the store {question.store}, or sees another one"


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in (".py", ".yaml"))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
