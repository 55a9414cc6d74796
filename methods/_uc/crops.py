"""Differentiable resizing and random crops with repeatable results on every device."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased where it shrinks: float [B, 3, h, w] -> [B, 3, *size].

    It is two matrix products, because the gradient of torch's own resizing is not repeatable on accelerators.
    """
    if tuple(images.shape[2:]) == tuple(size):
        return images
    rows, columns = (_weights(old, new).to(images) for old, new in zip(images.shape[2:], size, strict=True))
    return rows @ images @ columns.T


def shaken(images: Tensor, share: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image, enlarged, cropped to its size at a random place, and mirrored with probability one half.

    Args:
        images: float [B, 3, H, W]; not changed.
        share: a crop's side as a share of the enlarged image's, above 0; 1 crops nothing.
        generator: on the CPU.
    """
    count, _, height, width = images.shape
    grown = resize(images, (round(height / share), round(width / share)))
    tops = torch.randint(grown.shape[2] - height + 1, (count, 1), generator=generator)
    lefts = torch.randint(grown.shape[3] - width + 1, (count, 1), generator=generator)
    rows = tops.to(images.device) + torch.arange(height, device=images.device)
    columns = lefts.to(images.device) + torch.arange(width, device=images.device)
    if flip:
        mirrored = (torch.rand(count, 1, generator=generator) < 0.5).to(images.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(count, device=images.device)[:, None, None]
    return grown.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=16)
def _weights(old: int, new: int) -> Tensor:
    """float32 [new, old]: the weight of each old row or column in each new one."""
    lines = torch.eye(old)[None, None]
    return functional.interpolate(
        lines, size=(new, old), mode="bilinear", align_corners=False, antialias=True
    )[0, 0]
