"""TrivialAugment (Mueller & Hutter, ICCV 2021): one operation for each image, at a strength of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench.defenses._changes import brightness, contrast, matrix, saturation, sharpness, warp

Act = Callable[
    [Tensor, Tensor], Tensor
]  # float images [B, 3, H, W], strengths [B] in [0, 1] with a sign -> images


def _shear(along: int) -> Act:
    def act(images: Tensor, strength: Tensor) -> Tensor:
        slope = 0.99 * strength
        middle = images.shape[3 - along] / 2  # of the other axis: the shear leaves the first line where it is
        skew = matrix(*_unit(slope, along))
        return warp(images, skew, _along(slope * middle, along))

    return act


def _unit(slope: Tensor, along: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one, zero = torch.ones_like(slope), torch.zeros_like(slope)
    return (one, slope, zero, one) if along == 0 else (one, zero, slope, one)


def _along(distance: Tensor, along: int) -> Tensor:
    zero = torch.zeros_like(distance)
    return torch.stack([distance, zero] if along == 0 else [zero, distance], dim=1)


def _translate(along: int) -> Act:
    def act(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, matrix(*_unit(0 * strength, 0)), _along((32 * strength).trunc(), along))

    return act


def _rotate(images: Tensor, strength: Tensor) -> Tensor:
    angle = math.radians(135) * strength
    return warp(images, matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos()), _along(0 * angle, 0))


def _blend(change: Act) -> Act:
    return lambda images, strength: change(images, 1 + 0.99 * strength.view(-1, 1, 1, 1))


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    step = 2.0 ** (6 * strength.abs()).round().view(-1, 1, 1, 1)  # 8 to 2 bits are kept
    return (images * 255).round().div(step, rounding_mode="floor") * step / 255


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    return torch.where(images >= 1 - strength.abs().view(-1, 1, 1, 1), 1 - images, images)


def _equalize(images: Tensor, strength: Tensor) -> Tensor:
    return functional.equalize((images * 255).round().to(torch.uint8)).to(images.dtype) / 255


# The wide ranges of torchvision's TrivialAugmentWide, which acts on 8-bit images and has 31 strengths.
OPERATIONS: dict[str, Act] = {
    "Identity": lambda images, strength: images,
    "ShearX": _shear(0),
    "ShearY": _shear(1),
    "TranslateX": _translate(0),
    "TranslateY": _translate(1),
    "Rotate": _rotate,
    "Brightness": _blend(brightness),
    "Color": _blend(saturation),
    "Contrast": _blend(contrast),
    "Sharpness": _blend(sharpness),
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": lambda images, strength: functional.autocontrast(images),
    "Equalize": _equalize,
}


def trivial(images: Tensor, generator: torch.Generator) -> Tensor:
    """Changes each image, float [B, 3, H, W] in [0, 1], by one operation, uniform strength and random sign."""
    count, device = len(images), images.device
    chosen = torch.randint(len(OPERATIONS), (count,), generator=generator, device=device)
    strengths = torch.rand(count, generator=generator, device=device)
    strengths = torch.where(
        torch.rand(count, generator=generator, device=device) < 0.5, -strengths, strengths
    )
    order, counts = chosen.argsort(stable=True), chosen.bincount(minlength=len(OPERATIONS)).tolist()
    groups = zip(
        OPERATIONS.values(), images[order].split(counts), strengths[order].split(counts), strict=True
    )
    done = [act(group, strength) if len(group) else group for act, group, strength in groups]
    return torch.empty_like(images).index_copy_(0, order, torch.cat(done).to(images.dtype))
