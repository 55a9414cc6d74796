"""Mixup: every image and its label blended with those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Defense
from ue_bench.defenses._limits import positive
from ue_bench.defenses._mixing import draw_beta, draw_partners


@dataclass(frozen=True)
class Mixup(Defense):
    """Mixup (Zhang et al., ICLR 2018): a batch blended with itself in another order, labels likewise.

    One share for the whole batch, as in the paper's algorithm. EM's and ISS's code mix single samples, twice, each
    time with probability 0.5.
    """

    comparable_training: ClassVar[bool] = False

    alpha: float = 1.0  # of Beta(alpha, alpha), from which the share is drawn; the field uses 1: uniform

    def __post_init__(self) -> None:
        positive("mixup.alpha", self.alpha)

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        share = draw_beta(self.alpha, generator)
        partners = draw_partners(len(images), generator)
        return images.lerp(images[partners], share), targets.lerp(targets[partners], share)
