"""Contrastive learning's augmentation with a strength, for the trainer and for objectives of noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ue_bench import Share
from ue_bench.contracts.defense import Defense
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.resident import Index
from ue_bench.crafting.views import Augmentation, view


def augmentation_of(strength: float) -> Augmentation:
    """Crops, mirroring, colours and greyscale as AUE's authors set them from one number.

    Example: strength 1 crops to 10 % of the area or more and changes colours with a probability of 0.8; strength 0 only
    mirrors.
    """
    return Augmentation(
        smallest_area=max(1 - 0.9 * strength, 0.05),
        brightness=0.4 * strength,
        contrast=0.4 * strength,
        saturation=0.4 * strength,
        hue=0.1 * strength,
        jitter=min(0.99, 0.8 * strength),
        grey=0.2 * strength,
    )


@dataclass(frozen=True)
class StrongViews(Defense):
    """Every image of a batch becomes a random view of its own; in the form of a defense, which the trainer takes."""

    strength: Share = 0.6

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self(images, generator), targets

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """float [B, 3, H, W] in [0, 1] -> the same; ``generator`` on their device."""
        return view(images, augmentation_of(self.strength), generator)


@dataclass(frozen=True)
class OnViews:
    """A classification whose loss is taken on a new view of each image; errors are counted on the images themselves.

    Attributes:
        plain: the classification.
        views: makes the views.
        generator: on the device.
    """

    plain: Classification
    views: StrongViews
    generator: torch.Generator

    def loss(self, model: nn.Module, images: Tensor, index: Index) -> Tensor:
        """float32 scalar: the sum over the views."""
        return self.plain.loss(model, self.views(images, self.generator), index)

    def errors(self, model: nn.Module, images: Tensor, index: Index) -> Tensor:
        """int64 scalar: how many of the images the model gets wrong."""
        return self.plain.errors(model, images, index)
