"""MoCo v2 with a small ResNet for CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ue_bench import Count, Positive, Share
from ue_bench.crafting.contrastive import Blueprint

from ._views import BACKBONE, FromViews
from .resnet_tiny import ResNetTiny


@dataclass(frozen=True)
class MoCoTiny(FromViews):
    """MoCo v2 with resnet_tiny and a shorter queue: shows in minutes whether noise keeps a model from learning."""

    stem_stride: Count = 2  # of resnet_tiny; 1: four times the work
    temperature: Positive = 0.2  # of InfoNCE; CP's code
    encoder_momentum: Share = (
        0.99  # share of its weights that the momentum encoder keeps in a step; CP's code
    )
    queue: Count = 1024  # keys; CP's code has 4096 for more images

    def backbone(self, classes: int, image_size: tuple[int, int]) -> Any:
        return ResNetTiny(stem_stride=self.stem_stride).build(classes, image_size)

    def blueprint(self) -> Blueprint:
        return Blueprint(
            "moco", BACKBONE, temperature=self.temperature, momentum=self.encoder_momentum, queue=self.queue
        )
