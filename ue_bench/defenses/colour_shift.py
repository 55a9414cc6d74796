"""Colour shift: adds a random colour to every training image in every epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ue_bench import Defense, Positive


@dataclass(frozen=True)
class ColourShift(Defense):
    """Colour shift (an adaptive defense in the code of DUNE, Wang et al., ICML 2026): one number for each channel.

    Drawn anew for every image and batch, then cut to valid pixels. DUNE's code joins it with Gaussian noise or with
    adversarial training: colour_shift+gaussian_noise, colour_shift+adversarial_training.
    """

    reach: Positive = (
        25.5  # steps of 1/255, the farthest shift; ours: the largest start of DUNE's colour search
    )

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shift = torch.empty((len(images), 3, 1, 1), device=generator.device)
        shift.uniform_(-self.reach / 255, self.reach / 255, generator=generator)
        return (images + shift).clamp_(0, 1), targets
