"""Gaussian blur: a low-pass over every training image, once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench import Defense
from ue_bench.defenses._limits import positive, require
from ue_bench.errors import ConfigError


@dataclass(frozen=True)
class GaussianBlur(Defense):
    """Gaussian blur of fixed width, rounded to 8 bits; borders are mirrored.

    The kernel of 3 with sigma 0.1 in ISS's and APBench's code changes no pixel, so their rows "Gaussian" show runs
    without a defense. A sigma that small is an error here.
    """

    sigma: float = 1.0  # pixels, ours: for images of 32
    kernel: int = 5  # pixels, odd; ours: two sigmas to either side

    def __post_init__(self) -> None:
        positive("gaussian_blur.sigma", self.sigma)
        odd = self.kernel >= 3 and self.kernel % 2 == 1
        require(odd, "gaussian_blur.kernel", self.kernel, "an odd number of pixels from 3 on")
        reach = range(-(self.kernel // 2), self.kernel // 2 + 1)
        centre = 1 / sum(math.exp(-0.5 * (offset / self.sigma) ** 2) for offset in reach)
        if 255 * (1 - centre**2) < 0.5:  # the most that a pixel can change by, before rounding
            raise ConfigError(
                f"gaussian_blur.sigma={self.sigma:g} changes no 8-bit image: say 0.5 or more (pixels)"
            )

    def images_once(self, images: Tensor) -> Tensor:
        if min(images.shape[2:]) <= self.kernel // 2:
            height, width = images.shape[2:]
            raise ConfigError(
                f"gaussian_blur.kernel={self.kernel} does not fit images of {height} x {width} pixels: lower it"
            )
        sides, sigmas = [self.kernel] * 2, [self.sigma] * 2
        return torch.cat([functional.gaussian_blur(part, sides, sigmas) for part in images.split(1000)])
