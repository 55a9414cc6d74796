"""A small VGG for CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ue_bench import Count, Recipe

from ._families import Classifier, calm


@dataclass(frozen=True)
class VGGTiny(Classifier):
    """Four times 3x3 convolution, batch norm, ReLU and max-pool, then one linear layer: a VGG for CPUs.

    No paper's victim: it shows in minutes on two CPU cores whether noise works on networks without skip
    connections. The first convolution has stride 1 and sees neighbouring pixels. The recipe is VGG's: learning
    rate at most 0.05.
    """

    channels: Count = 16  # of the first stage; each further stage has twice as many

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        layers: list[nn.Module] = []
        inside = 3
        for stage in range(4):
            outside = self.channels * 2**stage
            convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            layers += [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            inside = outside
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, classes))

    def recipe(self, recipe: Recipe) -> Recipe:
        return calm(recipe)
