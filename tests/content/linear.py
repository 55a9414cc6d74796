"""A victim for tests."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ue_bench import Victim


@dataclass(frozen=True)
class Linear(Victim):
    """One linear layer on 4x4 average-pooled pixels."""

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))
