"""Bit depth reduction: keeps only the highest bits of every pixel; applied once, before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench import Defense, Range


@dataclass(frozen=True)
class BitDepth(Defense):
    """Bit depth reduction (Liu et al., ICML 2023, image shortcut squeezing): the low bits become 0."""

    bits: Annotated[int, Range(1, 8)] = 2  # how many of 8 bits each colour channel keeps; APBench: 2

    def images_once(self, images: Tensor) -> Tensor:
        return functional.posterize(images, self.bits)
