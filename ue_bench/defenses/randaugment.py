"""RandAugment: a few operations per image, drawn from fourteen, at one strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ue_bench import Count, Defense, Range
from ue_bench.defenses._operations import OPERATIONS, Move, apply_moves

NAMES = tuple(name for name in OPERATIONS if name != "Invert")  # the paper's fourteen
STRONGEST = 30


@dataclass(frozen=True)
class RandAugment(Defense):
    """RandAugment (Cubuk et al., NeurIPS 2020): every image draws its own operations, with replacement.

    It follows crop and flip. Operations and ranges are torchvision's. OPS's code draws from 15 operations, which
    include Invert and Cutout, and applies each with probability 0.5.
    """

    operations: Count = 2  # operations per image, one after the other (torchvision: 2)
    magnitude: Annotated[int, Range(0, 30)] = 9  # strength in each range, 0 to 30 (torchvision: 9)

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        size, device = (self.operations, len(images)), generator.device
        chosen = torch.randint(len(NAMES), size, generator=generator, device=device)
        sign = torch.rand(size, generator=generator, device=device)
        return self.augment(images, chosen, sign), targets

    def augment(self, images: Tensor, chosen: Tensor, sign: Tensor) -> Tensor:
        """The images, augmented according to these random draws.

        Args:
            images: float [B, 3, H, W] in [0, 1].
            chosen: int64 [operations, B], indices of NAMES.
            sign: float [operations, B] in [0, 1); a strength is negative if its number is at most 0.5.
        """
        moves = [Move(name, self.magnitude, STRONGEST) for name in NAMES]
        return apply_moves(images, moves, chosen, sign <= 0.5)
