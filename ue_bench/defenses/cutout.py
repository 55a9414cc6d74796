"""Cutout: a black square at a random place of every training image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Defense
from ue_bench.defenses._limits import require


@dataclass(frozen=True)
class Cutout(Defense):
    """Cutout (DeVries & Taylor, 2017) as the field uses it: one square, its centre uniform over all pixels.

    Cut at the border. Filled with 0, which is black since victims see [0, 1] pixels without normalisation.
    MEM's supplement uses it on pairs and does not say how large: half the image's side is usual.
    """

    side: int = 16  # pixels, for images of 32; of which 8 to 16 remain visible at the border

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})

    def __post_init__(self) -> None:
        require(self.side >= 1, "cutout.side", self.side, "at least 1 pixel")

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self._cut(images, generator), targets

    def pairs(
        self, images: Tensor, captions: list[str], generator: torch.Generator
    ) -> tuple[Tensor, list[str]]:
        return self._cut(images, generator), captions

    def _cut(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        rows = self._inside(count, height, images.device, generator)
        columns = self._inside(count, width, images.device, generator)
        hole = rows[:, None, :, None] & columns[:, None, None, :]
        return images.masked_fill(hole, 0.0)

    def _inside(self, count: int, length: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """bool [count, length]: True within the square along one axis."""
        centre = torch.randint(length, (count, 1), generator=generator, device=device)
        first = centre - self.side // 2
        position = torch.arange(length, device=device)
        return (position >= first) & (position < first + self.side)
