"""Workers of one machine that share a GPU: their times are marked, and memory that is short is no failure."""

from __future__ import annotations

from multiprocessing import Pipe

import pytest
import torch

from ue_bench.clock import device_share, share_device
from ue_bench.trials.environment import Environment
from ue_bench.trials.executors import Event, Outcome, Setup, local, worker
from ue_bench.trials.executors.capacity import device_shares
from ue_bench.trials.executors.local import Workers


class Named:
    """A task, as far as executors look at it."""

    def __init__(self, name: str):
        self.name = name


class Scripted:
    """A worker whose messages a test writes."""

    started: list[str] = []

    def __init__(self, perform, variables=None):
        self.variables, self.ready, self.sent, self.ends = variables, False, [], 0

    def start(self):
        if not self.ready:
            self.connection, self.theirs = Pipe()
            self.tell("ready")

    def tell(self, kind, content=None):
        self.theirs.send((kind, content))

    def receive(self):
        self.ready = True
        return self.connection.recv()

    def send(self, task, share):
        self.sent.append((task.name, share))

    def end(self):
        self.ready, self.ends = False, self.ends + 1


@pytest.fixture
def workers(monkeypatch):
    """(count, gpus, device) -> Workers on a machine with so many GPUs."""

    def make(count: int, gpus: int = 1, device: str = "cuda") -> Workers:
        monkeypatch.setattr(Environment, "find_device", lambda self: torch.device(device))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(local, "Worker", Scripted)
        return Workers(Setup(None, Environment("x")), count)

    return make


@pytest.mark.parametrize(
    ("device", "gpus", "count", "shares"),
    [
        ("cuda", 1, 3, [1 / 3] * 3),
        ("cuda", 2, 3, [1 / 2, 1, 1 / 2]),
        ("cuda", 2, 2, [1, 1]),
        ("cuda:1", 8, 2, [1 / 2] * 2),
        ("mps", 0, 2, [1 / 2] * 2),
        ("cpu", 0, 2, [1, 1]),
    ],
)
def test_workers_share_the_gpus_in_turn(workers, device, gpus, count, shares):
    made = workers(count, gpus, device)
    assert device_shares(Environment("x"), count) == shares
    for number in range(count):
        made.start(number, Named(f"task-{number}"))
    made.wait(0)
    sent = [made.busy[number].sent for number in range(count)]
    assert sent == [[(f"task-{number}", shares[number])] for number in range(count)]
    if gpus > 1 and device == "cuda":
        places = [made.busy[number].variables["CUDA_VISIBLE_DEVICES"] for number in range(count)]
        assert places == ["0", "1", "0"][:count]


def test_a_task_without_memory_is_done_once_more_when_all_others_have_ended(workers):
    made = workers(2)
    for number, name in enumerate(("small", "large")):
        made.start(number, Named(name))
    assert made.wait(0) == [] and made.free() == 0
    made.busy[1].tell("ended", Outcome("crowded", error={"kind": "E", "message": "CUDA out of memory"}))
    (event,) = made.wait(1)
    assert (event.kind, event.again) == ("lost", True) and "gets a GPU for itself" in event.why

    made.start(2, Named("large"))
    assert made.wait(0) == [] and made.free() == 0, "nothing else begins while it waits for the small one"
    made.busy[0].tell("ended", Outcome("done"))
    assert made.wait(1) == [Event(0, "ended", Outcome("done"))]
    ends = [each.ends for each in made.idle]
    made.wait(0)
    assert ends == [0, 0] and [each.ends for each in made.idle] == [1], "an idle worker keeps memory"
    made.wait(1)
    assert made.busy[2].sent[-1] == ("large", 1.0) and made.free() == 0
    made.busy[2].tell("ended", Outcome("done"))
    assert made.wait(1) == [Event(2, "ended", Outcome("done"))] and made.free() == 2


def test_a_worker_computes_with_the_share_that_it_is_told(monkeypatch):
    ours, theirs = Pipe()
    monkeypatch.setattr(
        worker.threading, "Thread", lambda **what: type("", (), {"start": lambda self: None})()
    )
    monkeypatch.setattr(worker.signal, "signal", lambda *what: None)
    monkeypatch.setattr(worker.os, "_exit", lambda status: None)
    for message in ((Named("a"), 0.5), (Named("b"), 1.0)):
        ours.send(message)
    seen = []

    def perform(task, progress):
        seen.append((task.name, device_share()))
        if task.name == "b":
            theirs.close()
        return Outcome("done")

    try:
        worker._serve(theirs, perform)
    except OSError:
        pass
    finally:
        share_device(1.0)
    assert seen == [("a", 0.5), ("b", 1.0)]
