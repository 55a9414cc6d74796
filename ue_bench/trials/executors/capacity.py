"""How many workers this machine has room for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import joblib
import torch

from ue_bench.trials.environment import Environment
from ue_bench.trials.executors import Setup

LEAST_BYTES = 1.5 * 2**30  # memory of a worker, at least
SPARE = 1.25  # a worker gets this many times the memory that was measured
CONTAINERS = (  # cgroups 2 and 1: folder, limit, use, and the part of the use that can be reclaimed
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def count_workers(setup: Setup) -> int:
    """How many workers to use.

    As many as were asked for. ``auto`` on a CPU: the cores that this process may use, divided by the threads of a task,
    but no more than fit into the free memory. On accelerators: one for each visible GPU, or one if ``device=`` names a
    GPU. There are never more workers than tasks.
    """
    wanted = setup.workers
    if wanted is None and setup.environment.find_device().type == "cpu":
        need = max(LEAST_BYTES, SPARE * setup.peak_bytes.get("cpu", 0))
        wanted = int(min(joblib.cpu_count() / setup.environment.threads, free_bytes() / need))
    elif wanted is None:
        wanted = len(visible_gpus(setup.environment))
    return max(1, min(wanted, setup.tasks))


def visible_gpus(environment: Environment) -> list[str]:
    """The GPUs among which workers are spread, as CUDA_VISIBLE_DEVICES names them; none if the device is fixed."""
    device = environment.find_device()
    if device.type != "cuda" or device.index is not None:
        return []
    named = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def device_shares(environment: Environment, count: int) -> list[float]:
    """What share of its device each of so many workers has: they take the visible GPUs in turn, and share no cores."""
    if environment.find_device().type == "cpu":
        return [1.0] * count
    gpus = len(visible_gpus(environment)) or 1
    return [1 / sum(other % gpus == number % gpus for other in range(count)) for number in range(count)]


def free_bytes() -> float:
    """Memory that is free without swapping, within the limits of a container; infinity if unknown."""
    known = [1024 * _told("/proc/meminfo", "MemAvailable:")]
    for folder, most, used, cached in CONTAINERS:
        if Path(folder, most).exists():
            reclaimable = _told(f"{folder}/memory.stat", cached)
            known.append(_told(f"{folder}/{most}") - _told(f"{folder}/{used}") + reclaimable)
    return min((each for each in known if math.isfinite(each)), default=math.inf)


def _told(path: str, word: str = "") -> float:
    """The number in a file, or after a word that starts a line; infinity if there is no number, such as for "max"."""
    try:
        text = Path(path).read_text()
        return float(
            next(line[len(word) :].split()[0] for line in text.splitlines() if line.startswith(word))
        )
    except (OSError, StopIteration, ValueError, IndexError):
        return math.inf
