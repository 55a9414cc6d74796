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

SETTINGS = {  # of Ray, which reads them when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_raylet_start_wait_time_s": "120",
}
ANSWER_SECONDS = 5  # until an address where nobody listens is given up
STORE_BYTES = 80 * 2**20  # of the object store, which nothing goes through: the least that Ray allows
SPARE = 1.25  # times the device memory that was measured
MOST_SHARING = 16  # trials on one GPU
SLACK = 1e-6  # of sums of shares


class ClusterError(UEBenchError):
    """A Ray cluster that cannot be reached or used."""


@dataclass(eq=False)
class Node:
    """A machine of the cluster.

    Attributes:
        key: Ray's.
        host: its name and address.
        cpus, gpus: what Ray may give away of it.
        share: of a GPU, or whole GPUs, that a trial takes there; None: not known yet.
        wrong: why it cannot take part, or "".
    """

    key: str
    host: str
    cpus: float
    gpus: float
    share: float | None = None
    wrong: str = ""

    def room(self, cpus: float) -> int:
        """How many trials, each with so many CPUs, it has room for at a time."""
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
    """Joins a cluster while the block lasts, or uses the one that this process has joined before.

    Args:
        address: ``auto`` for the one that runs on this machine, ``local`` for one that ends with the block, or
            ``HOST:PORT``.

    Raises:
        ClusterError: if nobody answers there.
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
    """HOST:PORT of a cluster that answers there.

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
        raise ConfigError(f"ray_address is auto, local or HOST:PORT such as 10.0.0.5:6379, not {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
        if _answers(given):
            return given
        problem = "what listens there is not Ray"
    except OSError as error:
        problem = error.strerror or str(error)
    raise ClusterError(
        f"no Ray answers at {given} ({problem}): 'ray status' on the head node tells its address; 'ray start --head' "
        "starts one, or leave executor= out to work on this machine"
    )


def _answers(address: str) -> bool:
    """Whether a Ray listens there: the library itself waits for a minute, and then ends the process."""
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
    """The machines of the cluster that are alive; those that are known already as they are."""
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
    """(CPUs, GPUs) that one trial takes; GPUs None: as much of one as the measured memory says.

    Raises:
        ConfigError: for a device that is Ray's to choose.
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
    """The share of a GPU of so much memory for trials that took ``peak_bytes``: 1 over a whole number.

    Example: 20 GB of 80 need 25 with what is spared, so that three fit: 1/3. 1 where nothing is known.
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
    """What an error of Ray says first; the rest are its own lines of code."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
