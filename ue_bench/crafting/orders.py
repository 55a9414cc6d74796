"""Which images a batch holds, and in which order batches come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch")


def in_order(count: int, size: int) -> list[slice]:
    """Batches in the data's own order, the last, smaller one kept.

    A last batch of one image joins the one before it, because batch normalisation cannot train on one image.

    Example: ``in_order(10, 4)`` is ``[slice(0, 4), slice(4, 8), slice(8, 10)]``, ``in_order(9, 4)`` is
    ``[slice(0, 4), slice(4, 9)]``.
    """
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]


def shuffled(indices: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One pass over ``indices`` (int64 [M]) in a new order, in batches of int64 [size].

    The last, smaller batch is left out; if there are fewer indices than ``size``, all of them are one batch.
    """
    order = indices[torch.randperm(len(indices), generator=generator)]
    size = min(size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def sweep(rows: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """One pass over all examples in a new order: int64 batches of at most ``size``, no noise twice in a batch.

    Batches are as equal in size as possible, without a small last one, because an example is judged against its batch.

    Args:
        rows: int64 [examples], which noise each example has.

    Example: 9 examples, each with its own noise, and ``size`` 4 make three batches of 3. Two examples that share
    a noise are in different batches.
    """
    order = torch.randperm(len(rows), generator=generator)
    mine = rows[order]
    counts = mine.bincount()
    together = mine.argsort(stable=True)
    turn = torch.empty_like(order)  # how many examples with the same noise come before
    turn[together] = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[mine[together]]
    batches: list[Tensor] = []
    for number in range(int(counts.max())):
        members = order[turn == number]
        batches += members.tensor_split(-(-len(members) // size))
    return batches


class Endless(Generic[Batch]):
    """Repeats passes without end; ``next`` continues where it stopped, after ``load_state_dict``, too.

    Args:
        one_pass: gives the batches of a pass.
        generator: draws the order of a pass at its start; None: every pass is the same.
    """

    def __init__(self, one_pass: Callable[[], Iterable[Batch]], generator: torch.Generator | None = None):
        self._one_pass, self._generator = one_pass, generator
        self._batches: Iterator[Batch] = iter(())
        self._start: Tensor | None = None
        self._taken = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._batches, None)
        if batch is None:
            self._begin()
            batch = next(self._batches)
        self._taken += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where it is in its pass, and what the generator was before the pass."""
        return {"start": self._start, "taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes there. The generator stays as it is."""
        generator = self._generator
        now = None if generator is None else generator.get_state()
        if generator is not None and state["taken"]:
            generator.set_state(state["start"])
        self._batches = iter(())
        for _ in range(state["taken"]):
            next(self)
        if generator is not None and now is not None:
            generator.set_state(now)

    def _begin(self) -> None:
        self._start = None if self._generator is None else self._generator.get_state()
        self._batches, self._taken = iter(self._one_pass()), 0


def stratified(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """int64 [M], ascending: a random ``share`` of each class, to the nearest image, but at least one.

    Args:
        labels: int64 [N].
        share: above 0, up to 1.
    """
    chosen = []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = max(1, round(share * len(members)))
        chosen.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(chosen).sort().values
