"""UEraser: strong augmentation, and of several copies of an image only the one with the largest loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ue_bench import Count, Defense, PositiveShare, Share
from ue_bench.defenses._plasma import plasma
from ue_bench.defenses._trivial import trivial


@dataclass(frozen=True)
class UEraser(Defense):
    """UEraser (Qin et al., 2023): each image is augmented ``repeats`` times and trained on at its largest loss.

    Each copy, after crop and flip: plasma brightness, plasma contrast, a shuffle of the colour channels, one operation
    of TrivialAugment. ``lite`` has one copy, ``max`` several in every epoch, ``standard`` several at first and one
    then. All copies go through the network in one batch, so that batch statistics are theirs.

    The authors take TrivialAugment from kornia; here it has torchvision's wide ranges, on another list of operations.
    They train for 200 epochs with a learning rate of 0.1, in a script for LSP 0.01. APBench has both plasmas always
    (``plasma_share=1``), and for TAP and AR alone a JPEG of random quality before them (jpeg+ueraser has a fixed one).
    """

    variant: Literal["standard", "max", "lite"] = "standard"  # when several copies compete; paper
    repeats: Count = 5  # copies of each image, standard and max; paper
    first_share: Share = 0.3  # standard: share of the epochs with several copies; README: 60 of 200
    plasma_share: PositiveShare = 0.5  # share of copies with plasma, for either one; code. APBench: 1

    comparable_training: ClassVar[bool] = False

    def in_epoch(self, epoch: int, epochs: int) -> Self:
        if self.variant != "standard":
            return self
        return replace(self, variant="max" if epoch < round(self.first_share * epochs) else "lite")

    def loss(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        cross_entropy: Callable[..., Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        copies = 1 if self.variant == "lite" else self.repeats
        shown = self.augment(images.repeat(copies, 1, 1, 1), generator)
        logits = model(shown)
        losses = cross_entropy(logits, targets.repeat(copies, 1), reduction="none").view(copies, -1)
        worst, which = losses.max(dim=0)
        images_in_order = torch.arange(len(images), device=which.device)
        return worst.mean(), logits.view(copies, len(images), -1)[which, images_in_order]

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Each image, augmented by itself: float [B, 3, H, W] in [0, 1] -> the same; nothing is differentiated."""
        count, device = len(images), images.device

        def chance(share: float) -> Tensor:
            return torch.rand((count, 1, 1, 1), generator=generator, device=device) < share

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand((count, 1, 1, 1), generator=generator, device=device) * (high - low) + low

        def cloud() -> Tensor:
            return plasma(uniform(0.3, 0.7), images.shape[1], (images.shape[2], images.shape[3]), generator)

        with torch.no_grad():
            brighter = (images + (2 * cloud() - 1) * uniform(0.5, 1.0)).clamp_(0, 1)
            images = torch.where(chance(self.plasma_share), brighter, images)
            steeper = ((images - 0.5) * 4 * cloud() + 0.5).clamp_(0, 1)
            images = torch.where(chance(self.plasma_share), steeper, images)
            orders = torch.rand((count, 3), generator=generator, device=device).argsort(dim=1)
            rows = torch.arange(count, device=device)[:, None]
            images = torch.where(chance(0.5), images[rows, orders], images)
            return trivial(images, generator)
