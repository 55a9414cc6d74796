"""Differentiable augmentation for noise that has to survive a victim's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ue_bench.contracts.defense import Defense


@dataclass(frozen=True)
class ShiftFlip(Defense):
    """Moves each image by its own random part of a pixel and more, and mirrors some; bilinear.

    Two small matrices an image, one for its lines and one for its columns, instead of a general grid: their
    gradient is repeatable on accelerators, where that of ``grid_sample`` is not, and on CPUs they are faster.
    A defense by its form only, so that the trainer can augment with it.

    Attributes:
        mean: the colour outside of the image, in [0, 1], one number a channel.
        pixels: the farthest shift along each axis, uniform in [-pixels, pixels].
        flip: the share of images that are mirrored left to right.
    """

    mean: tuple[float, ...]
    pixels: float = 4.0
    flip: float = 0.5

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self(images, generator), targets

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """float [B, 3, H, W] in [0, 1] -> the same moved; ``generator`` on the images' device."""
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
        mean: the colour that comes in from outside, one number a channel.

    Example: a line of pixels ``1 2 3``, shifted right by 1 with the colour 0, is ``0 1 2``; by 0.5, it is
    ``0.5 1.5 2.5``.
    """
    colour = torch.tensor(mean, dtype=images.dtype, device=images.device)[:, None, None]
    down, right = down.to(images.dtype), right.to(images.dtype)
    lines, columns = _weights(images.shape[2], down), _weights(images.shape[3], right)
    columns = torch.where(mirror[:, None, None], columns.flip(2), columns)
    with torch.autocast(images.device.type, enabled=False):  # 8-bit colours need more than bf16 has
        return lines[:, None] @ (images - colour) @ columns[:, None].mT + colour


def mean_colour(images: Tensor) -> tuple[float, ...]:
    """The mean of each channel of uint8 [N, 3, H, W], in [0, 1]."""
    count = images.numel() // images.shape[1]
    return tuple((images.sum(dim=(0, 2, 3), dtype=torch.int64).double() / (255 * count)).tolist())


def _weights(length: int, shift: Tensor) -> Tensor:
    """float [B, length, length]: how much of each old position every new one shows."""
    position = torch.arange(length, dtype=shift.dtype, device=shift.device)
    source = position - shift[:, None]
    return (1 - (source[:, :, None] - position).abs()).clamp_min(0)
