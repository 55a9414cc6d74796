"""The same measurement in several processes at once, as a machine with several cores is used."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from threading import BrokenBarrierError
from typing import Any

from ue_bench.bench.measuring import Measured, Request, measure
from ue_bench.errors import TrainingError
from ue_bench.threads import computing_with
from ue_bench.training.arithmetic import Switches, computing_as
from ue_bench.trials.environment import Environment

_shared: list[Any] = []  # in a measuring process: the barrier, and the number that all agree on


def measure_together(
    processes: int,
    name: str,
    parameters: Mapping[str, Any],
    request: Request,
    environment: Environment,
    switches: Switches,
) -> Measured:
    """Measures one victim in several processes side by side; both loops, each in all of them at the same time.

    Args:
        processes: at least 2, each with the threads of ``environment``.
        name, parameters: the victim.
        request: sizes and time.
        environment: where it is measured.
        switches: the arithmetic.

    Returns:
        Rates of all processes together, turn by turn; the peak is that of one process times their number.

    Raises:
        TrainingError: if a process is killed.
    """
    spawn = multiprocessing.get_context("spawn")
    shared = (spawn.Barrier(processes), spawn.Value("d", 0.0))
    task = (name, dict(parameters), request, environment)
    with ProcessPoolExecutor(processes, spawn, _share, shared) as pool:
        waiting = [
            pool.submit(_measure, first, switches, *task) for first in [True] + [False] * (processes - 1)
        ]
        wait(waiting)
    for error in (each.exception() for each in waiting):
        if isinstance(error, BrokenProcessPool):
            raise TrainingError(
                f"a process that measured {name} was killed, perhaps for want of memory: say a smaller batch=, or "
                "fewer workers="
            ) from error
        if error and not isinstance(error, BrokenBarrierError):  # which only tells that another one failed
            raise error
    return combined([each.result() for each in waiting])


def combined(measured: Sequence[Measured]) -> Measured:
    """One measurement out of those of several processes, whose turns were the same."""

    def total(rates: Callable[[Measured], Sequence[float]]) -> tuple[float, ...]:
        return tuple(map(sum, zip(*map(rates, measured), strict=True)))

    return replace(
        measured[0],
        training=total(lambda one: one.training),
        ordinary=total(lambda one: one.ordinary),
        evaluation=total(lambda one: one.evaluation),
        peak=sum(one.peak for one in measured),
    )


def _share(barrier: Any, number: Any) -> None:
    _shared[:] = barrier, number


def _measure(first: bool, switches: Switches, *task: Any) -> Measured:
    """What ``measure`` gives for ``task``, in step with the other processes; the first one's numbers count."""
    barrier, number = _shared

    def agree(value: float) -> float:
        if first:
            number.value = value
        barrier.wait()
        agreed = number.value
        barrier.wait()
        return agreed

    name, parameters, request, environment = task
    with computing_with(environment.threads), computing_as(switches, environment.find_device()):
        try:
            return measure(name, parameters, request, environment, agree)
        except Exception:
            barrier.abort()  # the others would wait for ever
            raise
