"""The contract of a defense: what a hacker does to protected data to learn from it all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ue_bench.contracts.content import Content


@dataclass(frozen=True)
class Defense(Content):
    """Changes training data or the training step; never the test data. Override what the defense needs.

    Order in one trial: ``images_once`` on the protected set; then for every batch crop and flip, ``batch``,
    ``attack``.

    Attributes:
        paradigms: where it makes sense.
    """

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})

    def images_once(self, images: Tensor) -> Tensor:
        """Squeezes the whole training set before training: uint8 [N, 3, H, W] -> the same."""
        return images

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changes a batch after crop and flip.

        Args:
            images: float [B, 3, H, W] in [0, 1], on the training device.
            targets: float [B, classes], one-hot; return mixed targets where images are mixed.
            generator: on the training device, seeded.
        """
        return images, targets

    def attack(self, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """The images that this step trains on instead, found with the model (adversarial training).

        Arguments and result as in ``batch``; leave the model's parameters, buffers and mode as they were.
        """
        return images
