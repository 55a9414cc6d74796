"""Cutout: an empty square at a random place of every training image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Count, Defense
from ue_bench.defenses._scale import to_scale
from ue_bench.training.towers import MEAN


@dataclass(frozen=True)
class Cutout(Defense):
    """Cutout (DeVries & Taylor, 2017) as the field uses it: one square, with its centre uniform over all pixels.

    The square is cut at the border. It grows with the image: by default it is half the shorter side, 112 pixels of 224.
    Its colour is what the network reads as 0: black for victims that see [0, 1] pixels without normalisation, CLIP's
    mean colour for pairs. MEM's supplement uses it on pairs and does not say how large.
    """

    side: Count = 16  # pixels in images of 32, of which the border leaves 8 to 16; scaled for other sizes

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return images.masked_fill(self._hole(images, generator), 0.0), targets

    def pairs(
        self, images: Tensor, captions: list[str], generator: torch.Generator
    ) -> tuple[Tensor, list[str]]:
        colour = images.new_tensor(MEAN).view(1, 3, 1, 1)
        cut = torch.where(self._hole(images, generator), colour, images)
        return torch.empty_like(images).copy_(cut), captions

    def _hole(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """bool [B, 1, H, W]: True inside each image's square."""
        count, _, height, width = images.shape
        side = max(1, round(self.side * to_scale(images)))
        rows = _inside(count, height, side, images.device, generator)
        columns = _inside(count, width, side, images.device, generator)
        return rows[:, None, :, None] & columns[:, None, None, :]


def _inside(count: int, length: int, side: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """bool [count, length]: True inside the square along one axis."""
    centre = torch.randint(length, (count, 1), generator=generator, device=device)
    first = centre - side // 2
    position = torch.arange(length, device=device)
    return (position >= first) & (position < first + side)
