"""The number of threads that a process computes with, on which the last bits of a result on a CPU depend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits

_limited: list[int] = []  # the limit last set for the libraries of NumPy and SciPy


def set_threads(count: int) -> None:
    """Makes torch and the libraries of NumPy and SciPy compute with this many threads, whatever the machine has."""
    torch.set_num_threads(count)
    with contextlib.suppress(
        RuntimeError
    ):  # torch accepts this only once per process, before its first parallel work
        torch.set_num_interop_threads(count)
    if _limited != [count]:
        threadpool_limits(limits=count)
        _limited[:] = [count]


@contextlib.contextmanager
def computing_with(count: int) -> Iterator[None]:
    """Computes with this many threads in the block, and with the former number after it."""
    before = torch.get_num_threads()
    set_threads(count)
    try:
        yield
    finally:
        set_threads(before)


@contextlib.contextmanager
def threads_restored() -> Iterator[None]:
    """Computes with as many threads after the block as before it."""
    with computing_with(torch.get_num_threads()):
        yield
