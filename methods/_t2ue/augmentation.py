"""Augmentation of clean images before noise is added to them; it need not be differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ue_bench.crafting.views import Augmentation, colours, recolour
from ue_bench.errors import unknown

AUGMENTATIONS = ("none", "flip", "official")
MIRRORED = 0.75  # share of images that the authors' code mirrors, along each axis
DEGREES = 10.0  # the authors' code rotates images by up to this angle in either direction
JIGGLE = Augmentation(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1, jitter=0.8, grey=0.0)


def augmented(images: Tensor, kind: str, draw: torch.Generator) -> Tensor:
    """float [B, 3, H, W] in [0, 1] -> the same shape and range, channels-last.

    Args:
        images: on any device; not changed.
        kind: ``none``; ``flip`` mirrors half of the images left to right; ``official``, as in T2UE's code, mirrors
            along both axes, rotates by up to 10 degrees and changes the colours of each quarter slightly.
        draw: generator on the CPU.
    """
    if kind not in AUGMENTATIONS:
        raise unknown("augmentation", kind, AUGMENTATIONS)
    if kind == "none":
        return images
    if kind == "flip":
        return mirrored(images, 3, 0.5, draw)
    images = mirrored(mirrored(images, 3, MIRRORED, draw), 2, MIRRORED, draw)
    angle = DEGREES * (2 * torch.rand(len(images), generator=draw) - 1)
    return jiggled(turned(images, angle.to(images)), draw).contiguous(memory_format=torch.channels_last)


def mirrored(images: Tensor, axis: int, share: float, draw: torch.Generator) -> Tensor:
    """The images, a ``share`` of them mirrored along an axis: 3 is left to right, 2 upside down."""
    chosen = (torch.rand(len(images), generator=draw) < share).to(images.device)
    return torch.where(chosen[:, None, None, None], images.flip(axis), images)


def turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Each image, rotated about its centre by its own angle, float [B]; bilinear, black outside."""
    angle = degrees * math.pi / 180
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    theta = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def jiggled(images: Tensor, draw: torch.Generator) -> Tensor:
    """The images with a random change of colours in each of their four quarters; sides need not be even."""
    down, right = images.shape[2] // 2, images.shape[3] // 2
    rows = []
    for part in (images[:, :, :down], images[:, :, down:]):
        quarters = []
        for quarter in (part[..., :right], part[..., right:]):
            factors = (factor.to(images) for factor in colours(len(images), JIGGLE, draw))
            quarters.append(recolour(quarter, *factors))
        rows.append(torch.cat(quarters, dim=3))
    return torch.cat(rows, dim=2)
