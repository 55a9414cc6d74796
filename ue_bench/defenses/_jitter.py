"""Random rotation, shear, scale and colour of every image by itself, on values that need not lie in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ue_bench.defenses._changes import brightness, contrast, matrix, saturation, warp

LARGEST = math.radians(10)
CHANGES = (brightness, contrast, saturation)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """The augmentation of orthogonal projection's program: float [B, 3, H, W] -> float in [0, 1].

    A rotation of up to 10 degrees, then a shear of up to 10 degrees with a scale of 0.8 to 1.2, nearest pixel, black
    outside; then brightness, contrast and saturation, each times 0.8 to 1.2, in an order drawn for each image, cut to
    [0, 1] after each, as torchvision does.
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator, device=device) * (high - low) + low

    angle, shear = (uniform(-LARGEST, LARGEST) for _ in range(2))
    shrink, still = 1 / uniform(0.8, 1.2), torch.zeros(count, 2, device=device)
    images = warp(images, matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos()), still)
    images = warp(images, matrix(shrink, -shrink * shear.tan(), 0 * shrink, shrink), still)
    factors = [uniform(0.8, 1.2).view(-1, 1, 1, 1) for _ in CHANGES]
    orders = torch.rand((count, 3), generator=generator, device=device).argsort(dim=1)
    for turn in range(3):
        which = orders[:, turn].view(-1, 1, 1, 1)
        one, two, three = (change(images, factor) for change, factor in zip(CHANGES, factors, strict=True))
        images = torch.where(which == 0, one, torch.where(which == 1, two, three))
    return images
