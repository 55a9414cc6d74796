"""COIN: every pixel of every training image is taken from a random place nearby."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ue_bench import Defense, Positive
from ue_bench.defenses._scale import to_scale


@dataclass(frozen=True)
class Coin(Defense):
    """COIN (Wang et al., 2023): after crop and flip, each pixel moves by a random distance along both axes.

    Distances are drawn for every pixel, image and epoch, and are the same in all colours. Values between pixels are
    interpolated bilinearly, and what leaves the image at one side comes back at the other. The result has 8 bits. It is
    meant for class-wise filters (CUDA). The authors train victims for 80 epochs without weight decay.
    """

    reach: Positive = (
        2.0  # pixels, the farthest move in images of 32, scaled for other sizes; code: 0.8 to 3.2
    )

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        count, _, height, width = images.shape
        reach = self.reach * to_scale(images)
        size = (2, count, height, width)
        down, right = (
            torch.empty(size, device=generator.device).uniform_(-reach, reach, generator=generator).unbind()
        )
        return moved(images, down, right), targets


def moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """float [B, 3, H, W] in whole steps of 1/255: each pixel's value from ``down`` rows and ``right`` columns away.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        down: float [B, H, W], in pixels.
        right: float [B, H, W], in pixels.
    """
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device)[:, None] + down
    columns = torch.arange(width, device=images.device) + right
    numbers = torch.arange(count, device=images.device)[:, None, None]
    top, left = rows.floor(), columns.floor()
    lower, farther = (rows - top)[..., None], (columns - left)[..., None]
    above, before = top.long() % height, left.long() % width
    below, after = (above + 1) % height, (before + 1) % width
    pixels = images.permute(0, 2, 3, 1)
    upper_line = pixels[numbers, above, before].lerp(pixels[numbers, above, after], farther)
    lower_line = pixels[numbers, below, before].lerp(pixels[numbers, below, after], farther)
    found = upper_line.lerp(lower_line, lower).permute(0, 3, 1, 2)
    return found.mul(255).round_().div_(255).clamp_(0, 1)
