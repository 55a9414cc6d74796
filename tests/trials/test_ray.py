"""The Ray executor without Ray: what it asks, what a node has room for, and what it does when an actor is lost."""

from __future__ import annotations

import dataclasses
import importlib.util
import socket

import pytest
import torch

from ue_bench.clock import Clock, share_device
from ue_bench.errors import ConfigError, StoreError
from ue_bench.measures import lookup
from ue_bench.progress import Progress
from ue_bench.report.cost import spent_pieces
from ue_bench.trials import work as working
from ue_bench.trials.environment import Environment
from ue_bench.trials.executors import Event, Resources, Setup, Task, find_executor
from ue_bench.trials.executors.ray import Actors, Held
from ue_bench.trials.executors.ray_cluster import (
    ClusterError,
    Node,
    check_room,
    find_address,
    find_need,
    measured_share,
)
from ue_bench.trials.executors.ray_slot import Answer, Question, look
from ue_bench.trials.store import Store

GIGA = 10**9
MINE = Answer("here", "", {"torch": "2.9", "ue_bench": "0.1"}, {"corners.py": "aa"})


@pytest.fixture
def half_a_device():
    share_device(0.5)
    yield
    share_device(1.0)


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else real(name, *rest)
    )
    with pytest.raises(ConfigError, match=r"pip install 'ue-bench\[ray\]'"):
        find_executor("ray")


@pytest.mark.parametrize(
    ("peak", "memory", "share"),
    [(20 * GIGA, 80 * GIGA, 1 / 3), (40 * GIGA, 80 * GIGA, 1), (1, 80 * GIGA, 1 / 16), (0, 80, 1), (5, 0, 1)],
)
def test_a_share_leaves_a_quarter_more_than_was_measured(peak, memory, share):
    assert measured_share(peak, memory) == pytest.approx(share)


@pytest.mark.parametrize(
    ("share", "cpus", "room"), [(0.4, 1, 4), (1.0, 1, 2), (2.0, 1, 1), (3.0, 1, 0), (0.0, 3, 2), (0.25, 4, 2)]
)
def test_a_node_of_eight_cpus_and_two_gpus_has_room(share, cpus, room):
    assert Node("a", "a", 8, 2, share).room(cpus) == room
    assert Node("a", "a", 8, 2, share, wrong="it differs").room(cpus) == 0


def test_gpus_are_asked_for_where_there_are_some():
    nodes = [Node("a", "a", 8, 0), Node("b", "b", 8, 4)]

    def need(device: str = "auto", **resources):
        setup = Setup(None, Environment("x", device, threads=2), resources=Resources(**resources))
        return find_need(setup, nodes)

    assert need() == (2, 1)
    assert need("cpu") == (2, 0)
    assert need(gpus="0.5", cpus=1) == (1, 0.5)
    assert need(gpus="auto") == (2, None)
    with pytest.raises(ConfigError, match="say device=cuda"):
        need("cuda:1")


def test_more_gpus_than_there_are_is_an_error_that_says_what_there_is():
    with pytest.raises(
        ConfigError, match="needs 4 GPUs and 1 CPUs.*a has 8 CPUs and 2 GPUs.*gpus_per_trial="
    ):
        check_room([Node("a", "a", 8, 2, 4.0)], 1)


def test_an_address_where_nobody_listens_is_an_error_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"no Ray answers at {address}.*ray start"):
        find_address(address)


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:99999", "ray://host:10001", "host:six"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        find_address(address)


def test_what_differs_on_a_node_is_named():
    assert MINE.differs(MINE) == ""
    other = Answer("there", "", {"torch": "2.9", "ue_bench": "0.2"}, {"corners.py": "bb"})
    assert other.differs(MINE) == "ue_bench is 0.2 there and 0.1 here; the plug-in corners.py differs there"
    assert "torch is absent there" in Answer("there", "", {}, {"corners.py": "aa"}).differs(MINE)
    assert "corners.py is absent there" in Answer("there", "", MINE.versions, {"corners.py": ""}).differs(
        MINE
    )


def test_a_store_is_seen_where_its_file_is(tmp_path, monkeypatch):
    monkeypatch.setattr("ue_bench.trials.executors.ray_slot.LOOKS", 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corners.py").write_text("a = 1")
    nonce = "ray.x.y.tmp", b"word"
    Store(tmp_path / "here").write(("claims", nonce[0]), nonce[1])
    question = Question(str(tmp_path / "here"), nonce, (str(tmp_path),), str(tmp_path))
    seen = look(question)
    assert seen.store == "" and {"torch", "ue_bench"} <= set(seen.versions)
    assert list(seen.plugins) == [str(tmp_path / "corners.py")]
    for other in (tmp_path / "there", "memory://there"):
        assert "does not see the store" in look(dataclasses.replace(question, store=str(other))).store
    assert "sees another one" in look(dataclasses.replace(question, nonce=(nonce[0], b"other"))).store


def test_times_on_a_shared_device_are_marked_and_left_out_of_costs(half_a_device):
    clock = Clock(torch.device("cpu"))
    with clock.phase("train"):
        pass
    clock.add("prepare", 1.0, 1.0)
    clock.add("protect", 1.0, 1.0, 0.25)
    assert clock.shared == {"train": 0.5, "protect": 0.25}
    record = {"id": "a", "method": "em", "noise": {"key": "k"}, "device": {"type": "cuda"}}
    record["seconds"] = record["device_seconds"] = {"prepare": 4.0, "protect": 3.0, "train": 2.0}
    record["shared"] = {"protect": 0.5, "train": 0.5}
    assert [(piece["phase"], piece["seconds"]) for piece in spent_pieces([record])] == [("prepare", 4.0)]
    assert lookup(record, "protect_hours") is None and lookup(record, "prepare_hours") == 4 / 3600


def test_out_of_memory_is_no_failure_on_a_shared_device_only(half_a_device):
    full = torch.OutOfMemoryError("CUDA out of memory")
    assert working._crowded(full).status == "crowded"
    assert working._crowded(StoreError("full")) is None
    share_device(1.0)
    assert working._crowded(full) is None


@pytest.mark.parametrize("began", [True, False])
def test_a_lost_task_is_the_schedules_which_counts_how_often(began, monkeypatch):
    """A task that takes its process down before it is heard to begin would otherwise be given out for ever."""
    node = Node("n", "host", cpus=1, gpus=0)
    held = Held(node, None, alone=False, call=None, ready=True, number=7)
    actors = object.__new__(Actors)
    actors.held, actors.nodes, actors.given, actors.ray = [held], [node], [], None
    actors.tasks, actors.started = {7: Task("protect", None)}, {7} if began else set()
    monkeypatch.setattr(Actors, "_look_at_nodes", lambda self: None)
    why = "its process on the node host is gone, perhaps out of memory"
    assert actors._lose(held, RuntimeError()) == [Event(7, "lost", why=why, again=True, begun=began)]
    assert not actors.given and not actors.held


def test_a_run_without_nodes_says_once_that_it_waits(monkeypatch):
    said: list[str] = []

    class Heard(Progress):
        def say(self, line: str) -> None:
            said.append(line)

    def node(key: str, wrong: str = "") -> Node:
        return Node(key, key, 1, 0, share=0.0, wrong=wrong)

    nodes = iter([[node("a")], [node("a", "it differs")], [], [node("b")], []])
    monkeypatch.setattr("ue_bench.trials.executors.ray.alive_nodes", lambda ray, known: next(nodes))
    actors = object.__new__(Actors)
    actors.setup = Setup(None, Environment("x", "cpu"), progress=Heard())
    actors.ray, actors.nodes, actors.cpus, actors.gpus, actors.deserted = None, [], 1, 0, False
    counts = []
    for _ in range(5):
        actors._look_at_nodes()
        counts.append(len(said))
    assert counts == [0, 1, 1, 1, 2] and "the run waits" in said[0]
