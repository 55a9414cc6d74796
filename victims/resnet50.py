"""ResNet-50 for small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._families import ResNetFamily


@dataclass(frozen=True)
class ResNet50(ResNetFamily):
    """ResNet-50 (He et al., CVPR 2016) with the field's CIFAR stem: 3x3 stride 1, no max-pool.

    timm's model, 23.52 million weights with 10 classes at 32 pixels. Images larger than 64 pixels get the
    original 7x7 stride-2 stem with its max-pool.
    """

    architecture: ClassVar[str] = "resnet50"
