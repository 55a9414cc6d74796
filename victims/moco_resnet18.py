"""MoCo v2 with ResNet-18: learns from unlabelled images; a linear probe tells what it learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ue_bench import Count, Positive, Share
from ue_bench.crafting.contrastive import Blueprint

from ._views import BACKBONE, FromViews
from .resnet18 import ResNet18


@dataclass(frozen=True)
class MoCoResNet18(FromViews):
    """MoCo v2 (Chen et al., 2020) with the settings of CP's code: what CP and TUE protect against.

    As ``simclr_resnet18``, with a momentum encoder and a queue of keys. Batch normalisation sees whole batches.
    """

    temperature: Positive = 0.2  # of InfoNCE; CP's code
    encoder_momentum: Share = (
        0.99  # share of its weights that the momentum encoder keeps in a step; CP's code
    )
    queue: Count = 4096  # keys; CP's code

    def backbone(self, classes: int, image_size: tuple[int, int]) -> Any:
        return ResNet18().build(classes, image_size)

    def blueprint(self) -> Blueprint:
        return Blueprint(
            "moco", BACKBONE, temperature=self.temperature, momentum=self.encoder_momentum, queue=self.queue
        )
