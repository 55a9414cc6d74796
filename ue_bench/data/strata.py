"""Choosing a part of a dataset so that every class gives its share."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(labels: Tensor | None, count: int, seed: int) -> Tensor:
    """float64 [count], 0 to 1: each example's place in a random order; the first n places hold every class's share.

    A choice of the lowest places is nested: a smaller one lies within a larger one.

    Args:
        labels: int64 [count], or None to draw over all examples alike.
        count: of examples.
        seed: of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = labels if labels is not None else torch.zeros(count, dtype=torch.int64)
    place = torch.empty(count, dtype=torch.float64)
    for group in range(int(groups.max()) + 1):
        members = (groups == group).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator).to(torch.float64)
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        place[members] = (order + offset) / max(1, len(members))
    return place
