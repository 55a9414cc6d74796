"""How many operations a second this device reaches in matrix products: measured once and kept in the user's cache."""

from __future__ import annotations

import time

import torch

from ue_bench.clock import synchronise
from ue_bench.provenance import describe_device, versions
from ue_bench.training.machine import measured_once

SIDES = {"cpu": (256, 512, 1024)}  # of the square matrices, by type of device
ACCELERATOR = (4096, 8192)
SECONDS = 0.2  # for each side
LEAST = 3  # products for each side


def peak_flop(device: torch.device, dtype: str) -> float:
    """FLOP a second of the fastest of some matrix products with the process's number of threads.

    It is measured once for each device by name, dtype and number of threads, and kept in the user's cache; where that
    cannot be written, once a process. Call it outside timed phases.

    Args:
        dtype: ``float32`` or ``bfloat16``.
    """
    about = {**describe_device(device), "dtype": dtype, "torch": versions().get("torch")}

    def measure() -> dict[str, float]:
        return {"flop_per_second": measure_peak(device, getattr(torch, dtype))}

    return float(measured_once("peaks", about, measure)["flop_per_second"])


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of the fastest matrix product. On a CPU, core-seconds count, so that other work does not."""
    return max(_rate(side, device, dtype) for side in SIDES.get(device.type, ACCELERATOR))


def _rate(side: int, device: torch.device, dtype: torch.dtype) -> float:
    one = torch.full((side, side), 0.5, dtype=dtype, device=device)
    two, out = one.T.contiguous(), torch.empty_like(one)
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(taken) < LEAST or time.perf_counter() < end:
        start = _now(device)
        torch.mm(one, two, out=out)
        taken.append(_now(device) - start)
    return 2 * side**3 / min(taken)


def _now(device: torch.device) -> float:
    synchronise(device)
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    return time.perf_counter()
