"""SimCLR with ResNet-18: learns from unlabelled images; a linear probe tells what it learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ue_bench import Positive
from ue_bench.crafting.contrastive import Blueprint

from ._views import BACKBONE, FromViews
from .resnet18 import ResNet18


@dataclass(frozen=True)
class SimCLRResNet18(FromViews):
    """SimCLR (Chen et al., ICML 2020) with the settings of CP's code: what CP and TUE protect against.

    ResNet-18 with the field's CIFAR stem and a projection of two layers to 128 numbers. Trained without labels on what
    was published; accuracies are those of a linear probe, which is fitted to the clean training images and labels.
    """

    temperature: Positive = 0.5  # of NT-Xent; CP's code

    def backbone(self, classes: int, image_size: tuple[int, int]) -> Any:
        return ResNet18().build(classes, image_size)

    def blueprint(self) -> Blueprint:
        return Blueprint("simclr", BACKBONE, temperature=self.temperature)
