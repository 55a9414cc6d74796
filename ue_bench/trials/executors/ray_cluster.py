"""A Ray cluster: how it is joined, which machines it has, and how many trials each has room for."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import os
import re
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ue_bench.errors import ConfigError, UEBenchError
from ue_bench.process import handlers_restored
from ue_bench.trials.executors import Setup
from ue_bench.words import number

SETTINGS = {  # environment variables that Ray reads when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_raylet_start_wait_time_s": "120",
}
ANSWER_SECONDS = 5  # how long to wait for an answer from an address
STORE_BYTES = 80 * 2**20  # the smallest object store that Ray allows; it is not used
SPARE = 1.25  # a trial gets this many times the device memory that was measured
MOST_SHARING = 16  # the most trials on one GPU
SLACK = 1e-6  # rounding error allowed in sums of shares


class ClusterError(UEBenchError):
    """A Ray cluster that cannot be reached or used."""


@dataclass(eq=False)
class Node:
    """A machine of the cluster.

    Attributes:
        key: Ray's id of the node.
        host: its name and address.
        cpus, gpus: how many of them Ray may use.
        share: the GPUs, or the share of one, that a trial takes there; None: not known yet.
        wrong: why it cannot take part, or "".
    """

    key: str
    host: str
    cpus: float
    gpus: float
    share: float | None = None
    wrong: str = ""

    def room(self, cpus: float) -> int:
        """How many trials with ``cpus`` CPUs each it has room for at the same time."""
        counts = [math.floor(self.cpus / cpus + SLACK)]
        if self.share:
            counts.append(
                int(self.gpus) * self.sharing if self.share <= 1 else math.floor(self.gpus / self.share)
            )
        return 0 if self.wrong or self.share is None else min(counts)

    @property
    def sharing(self) -> int:
        """How many trials share one of its GPUs."""
        return math.floor(1 / self.share + SLACK) if self.share and self.share < 1 else 1


def import_ray() -> Any:
    """The module ``ray``, without its telemetry."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


@contextlib.contextmanager
def joined(address: str) -> Iterator[Any]:
    """Joins a cluster for the duration of the block, or uses the one that this process has already joined.

    Args:
        address: ``auto``: the cluster that runs on this machine; ``local``: one that ends with the block; or
            ``HOST:PORT``.

    Raises:
        ClusterError: if no cluster answers there.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    with handlers_restored(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if address == "local":
            ray.init(address="local", **quiet, **own)
        else:
            _join(ray, find_address(address), quiet)
    try:
        yield ray
    finally:
        with handlers_restored():
            ray.shutdown()


def find_address(address: str) -> str:
    """The HOST:PORT of the cluster, which has answered.

    Raises:
        ClusterError: if there is none.
    """
    given = address
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        with contextlib.suppress(Exception):
            given = canonicalize_bootstrap_address("auto") or ""
        if given in ("", "auto"):
            raise ClusterError(
                "ray_address=auto, but no Ray runs on this machine: start one with 'ray start --head "
                "--include-dashboard=false', name another with ray_address=HOST:PORT, or say ray_address=local for "
                "one that ends with the run"
            )
    host, _, port = given.rpartition(":")
    if not re.fullmatch(r"[\w.:\[\]-]+", host) or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"ray_address must be auto, local or HOST:PORT such as 10.0.0.5:6379, not {address!r}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
        if _answers(given):
            return given
        problem = "what listens there is not Ray"
    except OSError as error:
        problem = error.strerror or str(error)
    raise ClusterError(
        f"no Ray answers at {given} ({problem}): 'ray status' on the head node prints its address; 'ray start --head' "
        "starts one, or leave executor= out to work on this machine"
    )


def _answers(address: str) -> bool:
    """Whether Ray listens there. The library's own check waits for a minute, and then ends the process."""
    try:
        importlib.import_module("ray._raylet").GcsClient(address=address).check_alive(
            [], timeout=ANSWER_SECONDS
        )
    except Exception:
        return False
    return True


def _join(ray: Any, address: str, options: Mapping[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except Exception as error:
        raise ClusterError(
            f"cannot join the Ray at {address}: {first_line(error)}. This machine must be one of its nodes (run "
            f"'ray start --address={address}' here), with the same versions of Ray and Python"
        ) from error


def alive_nodes(ray: Any, known: Iterable[Node] = ()) -> list[Node]:
    """The machines of the cluster that are alive; known ones are kept as they are."""
    before = {node.key: node for node in known}
    found = []
    for told in ray.nodes():
        if not told["Alive"]:
            continue
        key, resources = told["NodeID"], told["Resources"]
        host = f"{told['NodeManagerHostname']} ({told['NodeManagerAddress']}, {key[:6]})"
        new = Node(key, host, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
        found.append(before.get(key, new))
    return found


def find_need(setup: Setup, nodes: Iterable[Node]) -> tuple[float, float | None]:
    """(CPUs, GPUs) that one trial takes; GPUs None: a share by the measured memory.

    Raises:
        ConfigError: for a device with a number, which is Ray's choice.
    """
    resources, device = setup.resources, setup.environment.device
    if device.startswith("cuda:"):
        raise ConfigError(f"device={device}, but Ray chooses the GPU of each trial: say device=cuda")
    cpus = float(setup.environment.threads) if resources.cpus is None else resources.cpus
    if resources.gpus not in ("", "auto"):
        return cpus, float(number(resources.gpus))
    if device in ("cpu", "mps") or not any(node.gpus >= 1 for node in nodes):
        return cpus, 0.0
    return cpus, None if resources.gpus == "auto" else 1.0


def measured_share(peak_bytes: int, device_bytes: int) -> float:
    """The share of a GPU with ``device_bytes`` for trials that took ``peak_bytes``: 1 divided by a whole number.

    Example: trials that took 20 GB get 25, so three fit into 80 GB: 1/3. The share is 1 if memory is unknown.
    """
    if not peak_bytes or not device_bytes:
        return 1.0
    return 1 / max(1, min(math.floor(device_bytes / (SPARE * peak_bytes)), MOST_SHARING))


def check_room(nodes: list[Node], cpus: float) -> None:
    """Raises ConfigError unless some node has room for a trial."""
    if any(node.room(cpus) for node in nodes):
        return
    have = "; ".join(f"{node.host} has {node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes)
    gpus = max((node.share or 0 for node in nodes), default=0)
    raise ConfigError(
        f"a trial needs {gpus:g} GPUs and {cpus:g} CPUs, but no node of the Ray cluster has that many ({have}): ask "
        "for less with gpus_per_trial= and cpus_per_trial="
    )


def first_line(error: BaseException) -> str:
    """The first line of Ray's error; the rest is a traceback."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
