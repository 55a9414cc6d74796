"""Grayscale: removes colour, which most noise from barely trained surrogates depends on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench import Defense


@dataclass(frozen=True)
class Grayscale(Defense):
    """Grayscale (Liu et al., ICML 2023, image shortcut squeezing): ITU-R 601 luma in all three channels.

    Only training images change; the victim is measured on coloured test images.
    """

    def images_once(self, images: Tensor) -> Tensor:
        return functional.rgb_to_grayscale(images, num_output_channels=3)
