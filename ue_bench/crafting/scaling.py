"""Scaling of noise to the radius of a budget."""

from __future__ import annotations

from torch import Tensor

from ue_bench.contracts.budget import Budget


def scale(noise: Tensor, budget: Budget) -> Tensor:
    """``noise`` [n, 3, H, W], scaled so that each image's norm (l2 or linf) is the radius, in [0, 1] pixel units."""
    flat = noise.flatten(1)
    if budget.norm == "linf":
        norms, radius = flat.abs().amax(1), budget.radius / 255
    else:
        norms, radius = flat.norm(dim=1), budget.radius
    return noise * (radius / norms)[:, None, None, None]
