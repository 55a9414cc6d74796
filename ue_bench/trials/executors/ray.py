"""Works on a Ray cluster, with an actor for each trial that a node has room for; actors stay until the end.

Ray starts processes and reports lost ones. Noise and records go through the store, the schedule handles repetitions and
time limits, and no actor has more than one task, so that nothing waits inside Ray.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
import uuid
from dataclasses import dataclass
from typing import Any

from ue_bench.errors import ConfigError, StoreError
from ue_bench.trials.executors import Event, Executor, Outcome, Setup, Task, ended
from ue_bench.trials.executors.local import LIBRARIES
from ue_bench.trials.executors.ray_cluster import (
    ClusterError,
    Node,
    alive_nodes,
    check_room,
    find_need,
    first_line,
    joined,
    measured_share,
)
from ue_bench.trials.executors.ray_slot import Answer, Question, Slot, device_bytes, look
from ue_bench.trials.identity import mark

START_SECONDS = 120.0  # a node whose first process takes longer to answer joins later
LOOK_SECONDS = 5.0  # between two looks at the cluster's nodes
HEAR_SECONDS = 5.0  # how long an actor waits for a message to send
FAILED_STARTS = 3  # the run ends after this many failed starts of actors in a row


def check_installed() -> None:
    """Raises ConfigError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "executor=ray needs Ray, which is not installed: pip install 'ue-bench[ray]' on every machine of the "
            "cluster, or leave executor= out to work on this machine alone"
        )


def open_executor(setup: Setup) -> Executor:
    """Joins the cluster, and checks that every node can do the work.

    Raises:
        UEBenchError: if no cluster answers, none has room for a trial, or a node differs from this one.
    """
    check_installed()
    with contextlib.ExitStack() as until_error:
        ray = until_error.enter_context(joined(setup.resources.address))
        actors = Actors(setup, ray)
        until_error.callback(actors.end)
        actors.check()
        actors.after = until_error.pop_all()
    return actors


@dataclass(eq=False)
class Held:
    """An actor, from the moment that it is requested.

    Attributes:
        node: the node that it runs on.
        actor: Ray's handle.
        alone: whether it has a whole GPU, where other actors share one.
        call: the pending call, or None.
        ready: whether it has answered for the first time.
        number: the number of its task, or None.
        gpu: the GPU that Ray gave it, or "".
        leaving: whether it ends as soon as it is idle.
    """

    node: Node
    actor: Any
    alone: bool
    call: Any
    ready: bool = False
    number: int | None = None
    gpu: str = ""
    leaving: bool = False


class Actors:
    """The actors of a run.

    Attributes:
        after: what has to be done at the end.
    """

    def __init__(self, setup: Setup, ray: Any):
        self.setup, self.ray = setup, ray
        self.after = contextlib.ExitStack()
        self.nodes = alive_nodes(ray)
        self.cpus, self.gpus = find_need(setup, self.nodes)
        self._find_shares()
        check_room(self.nodes, self.cpus)
        self.held: list[Held] = []
        self.given: list[tuple[int, Task]] = []  # tasks that wait for an idle actor
        self.tasks: dict[int, Task] = {}  # running tasks
        self.started: set[int] = set()
        self.alone: set[str] = set()  # names of tasks that need a GPU of their own
        self.failed_starts, self.looked = 0, time.monotonic()
        self.deserted = False  # whether no node has room for a trial
        self.store = setup.environment.open_store()
        nonce = f"ray.{mark()}.{uuid.uuid4().hex[:8]}.tmp", uuid.uuid4().hex.encode()
        self.store.write(("claims", nonce[0]), nonce[1])
        self.question = Question.about(setup.environment, nonce)
        self.mine = look(self.question)

    def check(self) -> None:
        """Starts an actor on every node that is to work, and checks that it sees what this process sees."""
        for node in [node for node in self.nodes if node.room(self.cpus)][: self._most()]:
            self._add(node)
        calls = [each.call for each in self.held]
        self.ray.wait(calls, num_returns=len(calls), timeout=START_SECONDS)
        self._hear(0.0)
        if wrong := [node.wrong for node in self.nodes if node.wrong]:
            raise ClusterError(
                f"{wrong[0]}. Give every machine of the cluster the same installation, and a store that all of them "
                "see: a shared folder or a bucket; then run the same command again"
            )

    def free(self) -> int:
        room = min(self._most(), sum(node.room(self.cpus) for node in self.nodes))
        # One task waits here even if all nodes are gone, so that the run goes on when a node comes back.
        return max(0, max(1, room) - len(self.tasks) - len(self.given))

    def start(self, number: int, task: Task) -> None:
        self.given.append((number, task))
        self._hand_out()

    def wait(self, seconds: float) -> list[Event]:
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self._look_at_nodes()
        self._hand_out()
        events = self._hear(seconds)
        self._hand_out()
        return events

    def stop(self, number: int) -> None:
        for held in [each for each in self.held if each.number == number]:
            self._remove(held)

    def close(self) -> None:
        self.after.close()

    def end(self) -> None:
        """Ends all actors, whatever they are doing."""
        for held in list(self.held):
            self._remove(held)
        with contextlib.suppress(StoreError):
            self.store.delete("claims", self.question.nonce[0])

    def _most(self) -> int:
        return max(1, min(self.setup.workers or self.setup.tasks, self.setup.tasks))

    def _look_at_nodes(self) -> None:
        self.looked = time.monotonic()
        self.nodes = alive_nodes(self.ray, self.nodes)
        self._find_shares()
        before, self.deserted = self.deserted, not any(node.room(self.cpus) for node in self.nodes)
        if self.deserted and not before:
            self.setup.progress.say(
                "    warning: no node of the cluster can take part any more: the run waits for one that can. Ctrl-C "
                "ends it, and what is finished is kept"
            )

    def _find_shares(self) -> None:
        """Sets for new nodes how many GPUs, or which share of a GPU, a trial takes there."""
        new = [node for node in self.nodes if node.share is None]
        asked = {node: self._ask_memory(node) for node in new if self.gpus is None and node.gpus}
        if asked:
            self.ray.wait(list(asked.values()), num_returns=len(asked), timeout=START_SECONDS)
        for node in new:
            memory = 0
            with contextlib.suppress(Exception):  # without an answer, a trial gets a whole GPU
                memory = self.ray.get(asked[node], timeout=0)
            most = self.setup.peak_bytes.get("cuda", 0)
            node.share = measured_share(most, memory) if self.gpus is None else self.gpus

    def _ask_memory(self, node: Node) -> Any:
        options = {"num_cpus": 0, "max_calls": 1, "max_retries": 0, "scheduling_strategy": self._on(node)}
        return self.ray.remote(device_bytes).options(**options).remote()

    def _on(self, node: Node) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node.key, soft=False)

    def _hand_out(self) -> None:
        """Hands tasks to idle actors, and starts actors if tasks wait and a node has room."""
        for number, task in list(self.given):
            idle = [each for each in self.held if each.ready and each.number is None and not each.leaving]
            fit = [each for each in idle if each.alone == (task.name in self.alone)]
            if fit:
                self.given.remove((number, task))
                self.tasks[number], fit[0].number = task, number
                fit[0].actor.work.remote(task)
                self._listen(fit[0])
        coming = [each.alone for each in self.held if not each.ready]
        alone = sum(task.name in self.alone for _, task in self.given)
        if alone > coming.count(True):
            self._find_whole_gpu()
        elif len(self.given) - alone > coming.count(False) and len(self.held) < self._most():
            room = {node: self._room(node) for node in self.nodes}
            node = max(room, key=room.__getitem__, default=None)
            if node is not None and room[node] > 0:
                self._add(node)

    def _room(self, node: Node) -> int:
        """How many more trials a node has room for."""
        here = [each for each in self.held if each.node is node]
        return node.room(self.cpus) - sum(node.sharing if each.alone else 1 for each in here)

    def _find_whole_gpu(self) -> None:
        """Starts an actor with a GPU of its own, or lets the actors of one GPU end as soon as they are idle."""
        for node in self.nodes:
            here = [each for each in self.held if each.node is node]
            taken = len({each.gpu for each in here if each.ready}) + sum(not each.ready for each in here)
            if node.room(self.cpus) and taken < node.gpus:
                self._add(node, alone=True)
                return
        shared = [each for each in self.held if each.ready and not each.alone]
        if not shared or any(each.leaving for each in self.held):
            return
        busy = {(each.node, each.gpu): 0 for each in shared}
        for each in shared:
            busy[each.node, each.gpu] += each.number is not None
        chosen = min(busy, key=busy.__getitem__)
        for each in [each for each in shared if (each.node, each.gpu) == chosen]:
            each.leaving = True
            if each.number is None:
                self._remove(each)

    def _add(self, node: Node, alone: bool = False) -> None:
        gpus = 1.0 if alone else node.share or 0.0
        variables = dict.fromkeys(LIBRARIES, str(self.setup.environment.threads))
        if not gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ""  # Ray shows all GPUs to an actor that requests none
        kind = self.ray.remote(
            num_cpus=self.cpus,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={"news": 1},
            scheduling_strategy=self._on(node),
        )(Slot)
        share = gpus if 0 < gpus < 1 else 1.0
        actor = kind.remote(self.setup.perform, self.question, variables, share)
        self.held.append(Held(node, actor, alone, actor.look.remote()))

    def _listen(self, held: Held) -> None:
        held.call = held.actor.hear.options(concurrency_group="news").remote(HEAR_SECONDS)

    def _hear(self, seconds: float) -> list[Event]:
        """The actors' messages as events; waits up to ``seconds`` for the first one."""
        calls = {each.call: each for each in self.held if each.call is not None}
        if not calls:
            time.sleep(seconds)
            return []
        self.ray.wait(list(calls), timeout=seconds)
        ready, _ = self.ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return [event for call in ready for event in self._receive(calls[call])]

    def _receive(self, held: Held) -> list[Event]:
        if held not in self.held:  # it was removed when its node was refused
            return []
        call, held.call = held.call, None
        try:
            told = self.ray.get(call)
        except self.ray.exceptions.RayError as error:
            return self._lose(held, error)
        if not held.ready:
            self._welcome(held, told)
            return []
        events = [event for kind, content in told for event in self._answer(held, kind, content)]
        if held.number is not None:
            self._listen(held)
        return events

    def _welcome(self, held: Held, answer: Answer) -> None:
        """Admits an actor that has started, if it sees what this process sees."""
        held.ready, held.gpu, self.failed_starts = True, answer.gpu, 0
        if wrong := answer.differs(self.mine):
            held.node.wrong = f"the node {held.node.host} cannot take part: {wrong}"
            self.setup.progress.say(f"    warning: {held.node.wrong}")
            for each in [each for each in self.held if each.node is held.node]:
                self._remove(each)

    def _answer(self, held: Held, kind: str, content: Any) -> list[Event]:
        number = held.number
        if kind == "error":
            raise content
        if number is None:
            return []
        if kind == "said":
            return [Event(number, "said", line=content)]
        if kind == "followed":
            label, count, total = content
            return [Event(number, "followed", line=label, count=count, total=total)]
        if kind == "started":
            self.started.add(number)
            return [Event(number, "started")]
        return [self._ended(held, number, content)]

    def _ended(self, held: Held, number: int, outcome: Outcome) -> Event:
        task = self._release(held)
        if held.leaving or held.alone:
            self._remove(held)
        return ended(number, outcome, task.name, self.alone)

    def _lose(self, held: Held, error: Exception) -> list[Event]:
        """Handles an actor that is gone, and reports its task as lost."""
        number, began = held.number, held.number in self.started
        task = None if number is None else self._release(held)
        self._remove(held)
        self._look_at_nodes()
        there = held.node in self.nodes
        if number is not None and task is not None:
            gone = f"its process on the node {held.node.host} is gone, perhaps out of memory"
            why = gone if there else f"the node {held.node.host} is gone"
            return [Event(number, "lost", why=why, again=True, begun=began)]
        self.failed_starts += there
        if self.failed_starts >= FAILED_STARTS:
            raise ClusterError(
                f"no process starts on the node {held.node.host} of the Ray cluster: {first_line(error)}"
            )
        return []

    def _release(self, held: Held) -> Task:
        """Makes an actor idle and returns its task."""
        number, held.number = held.number, None
        assert number is not None
        self.started.discard(number)
        return self.tasks.pop(number)

    def _remove(self, held: Held) -> None:
        """Ends an actor."""
        if held.number is not None:
            self._release(held)
        if held in self.held:
            self.held.remove(held)
        with contextlib.suppress(Exception):
            self.ray.kill(held.actor)
