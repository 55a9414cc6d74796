"""Bit depth reduction: only the highest bits of every pixel are kept, once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench import Defense
from ue_bench.defenses._limits import require


@dataclass(frozen=True)
class BitDepth(Defense):
    """Bit depth reduction (Liu et al., ICML 2023, image shortcut squeezing): the low bits become 0."""

    bits: int = 2  # of 8 that each colour keeps; APBench: 2

    def __post_init__(self) -> None:
        require(1 <= self.bits <= 8, "bit_depth.bits", self.bits, "a whole number from 1 to 8")

    def images_once(self, images: Tensor) -> Tensor:
        return functional.posterize(images, self.bits)
