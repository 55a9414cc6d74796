"""Lengths in pixels, which are those of CIFAR's images and grow with larger ones."""

from __future__ import annotations

from torch import Tensor

SIDE = 32  # pixels of the images that defenses' parameters are given for


def to_scale(images: Tensor) -> float:
    """What lengths in pixels are multiplied with: 1 for images [B, 3, H, W] with a shorter side of 32, 7 for 224."""
    return min(images.shape[2:]) / SIDE
