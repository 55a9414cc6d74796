"""Frequency filter: sharpens every training image with a random kernel and keeps its low frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ue_bench import Defense, NotNegative, Positive, PositiveShare


@dataclass(frozen=True)
class FrequencyFilter(Defense):
    """Sharpening and a low-pass filter (RSK or SSK with FF, Kim & Sandoval-Segura, 2024), meant for CUDA.

    A kernel of 3 x 3 sharpens each image: its centre is about 2.5, its four direct neighbours are about -0.375. Then a
    discrete cosine transform keeps the lowest rows and columns. Both are cut to [0, 1]. ``random`` (RSK) draws a kernel
    for each image and batch, ``static`` (SSK) always has the mean one.

    The authors filter before crop and flip and lose a border of one pixel; here it comes after these, and the border's
    pixels are repeated, so that images keep their size. They train with batches of 512 for 60 epochs.
    """

    sharpening: Literal["random", "static", "none"] = "random"  # the kernel; none: low-pass filter only
    centre: Positive = 2.5  # mean of the kernel's centre; code
    spread: NotNegative = 0.1  # standard deviation of the centre and of each neighbour, random only; code
    kept: PositiveShare = (
        0.3  # share of the lowest rows and columns of frequencies; 1: no low-pass filter; code
    )

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.sharpening != "none":
            images = sharpened(images, self._kernels(len(images), generator))
        return low_pass(images, self.kept) if self.kept < 1 else images, targets

    def _kernels(self, count: int, generator: torch.Generator) -> Tensor:
        """float [count, 3, 3]."""
        drawn = torch.zeros((5, count), device=generator.device)
        if self.sharpening == "random":
            drawn.normal_(0, self.spread, generator=generator)
        centre = self.centre + drawn[0]
        kernels = torch.zeros((count, 3, 3), device=generator.device)
        kernels[:, 1, 1] = centre
        for number, (row, column) in enumerate(((0, 1), (1, 0), (1, 2), (2, 1)), 1):
            kernels[:, row, column] = -((centre - 1) / 4 + drawn[number])
        return kernels


def sharpened(images: Tensor, kernels: Tensor) -> Tensor:
    """float [B, 3, H, W] in [0, 1]: each image with its own kernel, float [B, 3, 3]."""
    count, _, height, width = images.shape
    with torch.autocast(images.device.type, enabled=False):
        wide = pad(images, (1, 1, 1, 1), mode="replicate").transpose(0, 1)  # an image is a group of channels
        found = conv2d(wide, kernels.to(images.dtype)[:, None], groups=count)
    return found.view(3, count, height, width).transpose(0, 1).clamp(0, 1)


def low_pass(images: Tensor, kept: float) -> Tensor:
    """float [B, 3, H, W] in [0, 1]: the images' lowest rows and columns of frequencies, a share ``kept`` of each."""
    with torch.autocast(images.device.type, enabled=False):
        down, across = (_lowest(length, kept, images) for length in images.shape[2:])
        return (down @ images @ across).clamp_(0, 1)


def _lowest(length: int, kept: float, like: Tensor) -> Tensor:
    """float [length, length]: projects onto the lowest cosines of an orthonormal DCT; at least the mean is kept."""
    place, frequency = torch.arange(length) + 0.5, torch.arange(max(1, int(kept * length)))
    cosines = (math.pi / length * frequency[:, None] * place).cos() * math.sqrt(2 / length)
    cosines[0] /= math.sqrt(2)
    return (cosines.T @ cosines).to(like)
