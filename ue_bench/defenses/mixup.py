"""Mixup: blends every image and its label with those of another image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Defense, Positive, Share
from ue_bench.defenses._mixing import draw_beta, draw_partners


@dataclass(frozen=True)
class Mixup(Defense):
    """Mixup (Zhang et al., ICLR 2018): a batch and its labels are blended with themselves in another order.

    The whole batch has one share, as in the paper's algorithm. EM's and ISS's code mix single samples, twice, each
    time with probability 0.5. Pairs are blended half and half, and the second caption follows the first (MixGen, Hao
    et al., WACV 2023), which MEM's supplement describes without a formula.
    """

    alpha: Positive = 1.0  # supervised: the share is drawn from Beta(alpha, alpha); 1: uniform
    pair_share: Share = 0.5  # pairs: share of the second image in each blend; MixGen

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    comparable_training: ClassVar[bool] = False

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        share = draw_beta(self.alpha, generator)
        partners = draw_partners(len(images), generator)
        return images.lerp(images[partners], share), targets.lerp(targets[partners], share)

    def pairs(
        self, images: Tensor, captions: list[str], generator: torch.Generator
    ) -> tuple[Tensor, list[str]]:
        if self.pair_share == 0:
            return images, captions
        partners = draw_partners(len(images), generator)
        joined = [
            f"{first} {captions[second]}" for first, second in zip(captions, partners.tolist(), strict=True)
        ]
        return images.lerp(images[partners], self.pair_share), joined
