"""The image operations of AutoAugment and RandAugment, each applied to several images of a batch at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional


@dataclass(frozen=True)
class Operation:
    """An operation and the range of its strength.

    Attributes:
        act: (uint8 [B, 3, H, W], strength) -> the same form. No image depends on the others.
        weakest: the strength at magnitude 0.
        strongest: the strength at the highest magnitude.
        signed: whether the strength's sign is drawn.
    """

    act: Callable[[Tensor, float], Tensor]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False


def _affine(images: Tensor, x: int = 0, y: int = 0, shear_x: float = 0.0, shear_y: float = 0.0) -> Tensor:
    """The images moved by whole pixels, or sheared about the upper left corner; nearest pixel, black outside."""
    shear = [math.degrees(math.atan(shear_x)), math.degrees(math.atan(shear_y))]
    centre = [0.0, 0.0] if any(shear) else None
    return functional.affine(images, angle=0.0, translate=[x, y], scale=1.0, shear=shear, center=centre)


# Ranges: AutoAugment's table 6, with translations as shares of a side (150 of 331 pixels there).
OPERATIONS = {
    "Identity": Operation(lambda images, strength: images),
    "ShearX": Operation(lambda images, strength: _affine(images, shear_x=strength), 0.0, 0.3, True),
    "ShearY": Operation(lambda images, strength: _affine(images, shear_y=strength), 0.0, 0.3, True),
    "TranslateX": Operation(
        lambda images, strength: _affine(images, x=int(strength * images.shape[3])), 0.0, 150 / 331, True
    ),
    "TranslateY": Operation(
        lambda images, strength: _affine(images, y=int(strength * images.shape[2])), 0.0, 150 / 331, True
    ),
    "Rotate": Operation(lambda images, strength: functional.rotate(images, strength), 0.0, 30.0, True),
    "Brightness": Operation(
        lambda images, strength: functional.adjust_brightness(images, 1 + strength), 0.0, 0.9, True
    ),
    "Color": Operation(
        lambda images, strength: functional.adjust_saturation(images, 1 + strength), 0.0, 0.9, True
    ),
    "Contrast": Operation(
        lambda images, strength: functional.adjust_contrast(images, 1 + strength), 0.0, 0.9, True
    ),
    "Sharpness": Operation(
        lambda images, strength: functional.adjust_sharpness(images, 1 + strength), 0.0, 0.9, True
    ),
    "Posterize": Operation(lambda images, strength: functional.posterize(images, round(strength)), 8.0, 4.0),
    "Solarize": Operation(lambda images, strength: functional.solarize(images, 255 * strength), 1.0, 0.0),
    "AutoContrast": Operation(lambda images, strength: functional.autocontrast(images)),
    "Equalize": Operation(lambda images, strength: functional.equalize(images)),
    "Invert": Operation(lambda images, strength: functional.invert(images)),
}


@dataclass(frozen=True)
class Move:
    """An operation at a magnitude from 0 to ``highest``, which spans its range evenly."""

    operation: str
    magnitude: int = 0
    highest: int = 1

    @functools.cached_property
    def strength(self) -> float:
        """The strength without its sign, computed in torch's own steps, so that results equal torchvision's exactly."""
        operation = OPERATIONS[self.operation]
        return float(torch.linspace(operation.weakest, operation.strongest, self.highest + 1)[self.magnitude])

    def __call__(self, images: Tensor, negative: bool) -> Tensor:
        """uint8 [B, 3, H, W] -> the same form."""
        return OPERATIONS[self.operation].act(images, -self.strength if negative else self.strength)


def apply_moves(images: Tensor, moves: Sequence[Move], chosen: Tensor, negative: Tensor) -> Tensor:
    """Applies to each image the moves that were chosen for it, one after the other.

    Images with the same move and sign are processed together, as the 8-bit images that these operations are made for.

    Args:
        images: float [B, 3, H, W] in [0, 1]; rounded to 8 bits.
        moves: the moves to choose from.
        chosen: int64 [rounds, B], which of the moves each image gets in each round.
        negative: bool [rounds, B], whether its strength is negative; ignored by operations without a sign.

    Returns:
        float, as ``images``.
    """
    chosen, negative = torch.stack(
        [chosen, negative.to(chosen)]
    ).cpu()  # the only synchronisation with the device
    signed = torch.tensor([OPERATIONS[move.operation].signed for move in moves])
    keys = 2 * chosen + negative * signed[chosen]
    with torch.autocast(images.device.type, enabled=False):  # bf16 is too coarse for coordinates and sums
        pixels = (images * 255).round_().to(torch.uint8)
        for of_round in keys:
            present, counts = of_round.unique(return_counts=True)  # sorted, like the groups
            order = of_round.argsort(stable=True).to(images.device)
            groups = pixels[order].split(counts.tolist())
            done = [
                moves[key // 2](group, bool(key % 2))
                for key, group in zip(present.tolist(), groups, strict=True)
            ]
            pixels = torch.empty_like(pixels).index_copy_(0, order, torch.cat(done))
        return torch.empty_like(images).copy_(pixels).div_(255)
