"""VGG-19 for small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._families import VGGFamily


@dataclass(frozen=True)
class VGG19(VGGFamily):
    """VGG-19 with batch norm (Simonyan and Zisserman, ICLR 2015), the field's CIFAR form: a linear head.

    timm's model, 20.04 million weights with 10 classes. The head is global pooling and one linear layer,
    without dropout; images of 224 pixels or more get the original head of two 4096-wide layers with dropout
    0.5. The recipe's learning rate is at most 0.05 and warms up, and gradients are clipped to a norm of 1:
    without that a VGG may stay at chance.
    """

    architecture: ClassVar[str] = "vgg19_bn"
