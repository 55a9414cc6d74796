"""Draws a part of a dataset that holds the same share of every class."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(labels: Tensor | None, count: int, seed: int) -> Tensor:
    """float64 [count], 0 to 1: each example's place in a random order whose first n places are class-stratified.

    To draw n examples, take those with the n lowest places. Smaller draws are subsets of larger ones.

    Args:
        labels: int64 [count], or None to draw without regard to classes.
        count: the number of examples.
        seed: for the order.
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
