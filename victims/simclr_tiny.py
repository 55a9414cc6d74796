"""SimCLR with a small ResNet for CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ue_bench import Count, Positive
from ue_bench.crafting.contrastive import Blueprint

from ._views import BACKBONE, FromViews
from .resnet_tiny import ResNetTiny


@dataclass(frozen=True)
class SimCLRTiny(FromViews):
    """SimCLR with resnet_tiny: shows in minutes whether noise keeps a model from learning without labels."""

    stem_stride: Count = 2  # of resnet_tiny; 1: four times the work
    temperature: Positive = 0.5  # of NT-Xent; CP's code

    def backbone(self, classes: int, image_size: tuple[int, int]) -> Any:
        return ResNetTiny(stem_stride=self.stem_stride).build(classes, image_size)

    def blueprint(self) -> Blueprint:
        return Blueprint("simclr", BACKBONE, temperature=self.temperature)
