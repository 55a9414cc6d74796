"""Gaussian noise: fresh noise on every training image in every epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Defense, Positive


@dataclass(frozen=True)
class GaussianNoise(Defense):
    """Gaussian noise, drawn anew for every batch and clipped to valid pixels.

    After the study of noise as a defense in EM's code (Huang et al., ICLR 2021), which adds uniform noise once, to
    protected images only; this is the usual augmentation instead.
    """

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})

    sigma: Positive = 8.0  # standard deviation in steps of 1/255; ours: the field's usual budget

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self._noisy(images, generator), targets

    def pairs(
        self, images: Tensor, captions: list[str], generator: torch.Generator
    ) -> tuple[Tensor, list[str]]:
        return self._noisy(images, generator), captions

    def _noisy(self, images: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(images).normal_(0, self.sigma / 255, generator=generator)
        return noise.add_(images).clamp_(0, 1)
