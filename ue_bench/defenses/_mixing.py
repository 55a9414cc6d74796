"""What the defenses that mix two images of a batch share."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_beta(alpha: float, generator: torch.Generator) -> Tensor:
    """One number from Beta(alpha, alpha), float [] on the generator's device.

    Torch cannot draw from Beta with a given generator, so a uniform number goes through the quantile function.
    """
    uniform = torch.rand((), generator=generator, device=generator.device)
    if alpha == 1:  # the uniform distribution: needs no synchronisation with the device
        return uniform
    from scipy.special import betaincinv

    return uniform.new_tensor(betaincinv(alpha, alpha, float(uniform)))


def draw_partners(count: int, generator: torch.Generator) -> Tensor:
    """int64 [count]: a random permutation, on the generator's device."""
    return torch.randperm(count, generator=generator, device=generator.device)
