"""Noise that is like T2UE's in all but what its text says."""

from __future__ import annotations

import torch
from torch import Tensor


def with_random_phases(noise: Tensor, draw: torch.Generator) -> Tensor:
    """Noise with the strength of every frequency and channel as it was, and phases drawn anew for each.

    All channels of a noise turn by the same phases, so that colours stay as they were at each frequency. Pixels may
    leave the bound, at which they are clipped when the noise is stored.

    Args:
        noise: float [R, 3, H, W].
        draw: generator on the CPU.
    """
    count, _, height, width = noise.shape
    white = torch.fft.fft2(torch.randn(count, 1, height, width, generator=draw)).to(noise.device)
    turned = torch.fft.fft2(noise.to(torch.float32)) * white / white.abs().clamp_min(1e-12)
    return torch.fft.ifft2(turned).real
