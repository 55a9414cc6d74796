"""Differentiable augmentation for noise that has to survive a victim's augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ue_bench.contracts.defense import Defense


@dataclass(frozen=True)
class ShiftFlip(Defense):
    """Shifts each image by its own random distance, which need not be whole pixels, and mirrors some; bilinear.

    Each image is multiplied by two small matrices, one for its rows and one for its columns. Unlike the gradient of
    ``grid_sample``, theirs is repeatable on accelerators, and they are faster on CPUs. The class has the form of a
    defense so that the trainer can augment with it.

    Attributes:
        mean: the colour outside the image, in [0, 1], one number per channel.
        pixels: the largest shift along each axis; shifts are uniform in [-pixels, pixels].
        flip: the share of images that are mirrored left to right.
    """

    mean: tuple[float, ...]
    pixels: float = 4.0
    flip: float = 0.5

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self(images, generator), targets

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """float [B, 3, H, W] in [0, 1] -> the images, shifted and mirrored; ``generator`` on their device."""
        shape, device = (len(images),), images.device
        down, right, coin = torch.rand(3, *shape, generator=generator, device=device)
        span = 2 * self.pixels
        return moved(images, (down - 0.5) * span, (right - 0.5) * span, coin < self.flip, self.mean)


def moved(images: Tensor, down: Tensor, right: Tensor, mirror: Tensor, mean: tuple[float, ...]) -> Tensor:
    """Mirrors, then shifts each image by its own number of pixels, bilinear; differentiable in ``images``.

    Args:
        images: float [B, 3, H, W].
        down, right: float [B], pixels; negative: up and left.
        mirror: bool [B], left to right.
        mean: the colour that comes in from outside, one number per channel.

    Example: a row of pixels ``1 2 3``, shifted right by 1 with the colour 0, becomes ``0 1 2``; shifted by 0.5, it
    becomes ``0.5 1.5 2.5``.
    """
    colour = torch.tensor(mean, dtype=images.dtype, device=images.device)[:, None, None]
    down, right = down.to(images.dtype), right.to(images.dtype)
    lines, columns = _weights(images.shape[2], down), _weights(images.shape[3], right)
    columns = torch.where(mirror[:, None, None], columns.flip(2), columns)
    with torch.autocast(images.device.type, enabled=False):  # bf16 is too coarse for 8-bit colours
        return lines[:, None] @ (images - colour) @ columns[:, None].mT + colour


def mean_colour(images: Tensor) -> tuple[float, ...]:
    """The mean of each channel of uint8 [N, 3, H, W], in [0, 1]."""
    count = images.numel() // images.shape[1]
    return tuple((images.sum(dim=(0, 2, 3), dtype=torch.int64).double() / (255 * count)).tolist())


def _weights(length: int, shift: Tensor) -> Tensor:
    """float [B, length, length]: the weight of each old position (column) in each new one (row)."""
    position = torch.arange(length, dtype=shift.dtype, device=shift.device)
    source = position - shift[:, None]
    return (1 - (source[:, :, None] - position).abs()).clamp_min(0)
