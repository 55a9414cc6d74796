"""CutMix: replaces a box of every image by that of another image, and mixes the labels in proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Defense, Positive, PositiveShare
from ue_bench.defenses._mixing import draw_beta, draw_partners


@dataclass(frozen=True)
class CutMix(Defense):
    """CutMix (Yun et al., ICCV 2019): one box for the whole batch, with a uniform centre, cut at the border.

    Labels are mixed by the area of the box after it is cut, not by the area that was drawn. A batch that is not mixed
    (see ``probability``) gets an empty box.
    """

    comparable_training: ClassVar[bool] = False

    alpha: Positive = 1.0  # the kept share of the area is drawn from Beta(alpha, alpha) (paper: 1)
    probability: PositiveShare = 0.5  # probability that a batch is mixed (authors' CIFAR setting)

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        device = generator.device
        drawn = (1 - draw_beta(self.alpha, generator)).sqrt()
        drawn = drawn * (torch.rand((), generator=generator, device=device) < self.probability)
        rows, columns = (_inside(drawn, length, generator) for length in images.shape[2:])
        box = rows[:, None] & columns
        cut = rows.float().mean() * columns.float().mean()
        partners = draw_partners(len(images), generator)
        return torch.where(box, images[partners], images), targets.lerp(targets[partners], cut)


def _inside(share: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """bool [length]: True inside a box along one axis; before the border cuts it, it is ``share`` of the axis wide."""
    half = (share * length).long() // 2
    centre = torch.randint(length, (), generator=generator, device=share.device)
    position = torch.arange(length, device=share.device)
    return (position >= centre - half) & (position < centre + half)
