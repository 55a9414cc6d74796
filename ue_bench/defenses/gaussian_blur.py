"""Gaussian blur: a low-pass filter on every training image; applied once, before training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench import Defense, Positive, Range
from ue_bench.defenses._scale import to_scale
from ue_bench.errors import ConfigError


@dataclass(frozen=True)
class GaussianBlur(Defense):
    """Gaussian blur of fixed width, rounded to 8 bits; borders are mirrored.

    The kernel grows with the image: sigma is 7 and the kernel 29 pixels at 224 pixels, which blurs as much as sigma 1
    does at 32.

    The kernel of 3 with sigma 0.1 in ISS's and APBench's code changes no pixel, so their rows "Gaussian" show runs
    without a defense. Such a small sigma is an error here.
    """

    sigma: Positive = 1.0  # pixels in images of 32, scaled for other sizes; ours
    kernel: Annotated[int, Range(3)] = 5  # pixels in images of 32, odd; ours: two sigmas to either side

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ConfigError(
                f"gaussian_blur.kernel must be an odd number of pixels, not {self.kernel}: "
                f"say gaussian_blur.kernel={self.kernel + 1}"
            )
        if _changes_nothing(self.sigma, self.kernel // 2):
            raise ConfigError(
                f"gaussian_blur.sigma={self.sigma:g} changes no 8-bit image: say 0.5 or more (pixels)"
            )

    def images_once(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        scale = to_scale(images)
        sigma, reach = self.sigma * scale, max(1, round(self.kernel // 2 * scale))
        if min(height, width) <= reach:
            raise ConfigError(
                f"gaussian_blur.kernel={self.kernel} does not fit images of {height} x {width} pixels: lower it"
            )
        if _changes_nothing(sigma, reach):
            raise ConfigError(
                f"gaussian_blur.sigma={self.sigma:g} is {sigma:g} pixels in images of {height} x {width}, and changes "
                f"no 8-bit image: say {0.5 / scale:g} or more"
            )
        sides, sigmas = [2 * reach + 1] * 2, [sigma] * 2
        return torch.cat([functional.gaussian_blur(part, sides, sigmas) for part in images.split(1000)])


def _changes_nothing(sigma: float, reach: int) -> bool:
    """True if rounding undoes even the change of a single bright pixel, with a kernel of ``reach`` to either side."""
    centre = 1 / sum(math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-reach, reach + 1))
    return 255 * (1 - centre**2) < 0.5
