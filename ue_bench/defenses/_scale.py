"""Scales lengths in pixels, which are given for CIFAR's images, to images of other sizes."""

from __future__ import annotations

from torch import Tensor

SIDE = 32  # pixels: side of the images that defenses' parameters are given for


def to_scale(images: Tensor) -> float:
    """The factor for lengths in pixels: 1 for images [B, 3, H, W] with a shorter side of 32, 7 for 224."""
    return min(images.shape[2:]) / SIDE
