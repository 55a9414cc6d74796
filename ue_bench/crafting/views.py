"""The augmented views of contrastive learning, for whole batches, differentiable with respect to the pixels.

Everything is a matrix product, which is quick on a CPU and, unlike the gradients of grid sampling, repeatable on
accelerators. A crop with its resizing and its flip is one matrix for the rows and one for the columns; brightness,
contrast, saturation, hue and greyscale are one affine map of the colour space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
TRIES = 10  # windows drawn in search of one that fits into the image, as torchvision does


@dataclass(frozen=True)
class Augmentation:
    """How views are drawn. The defaults are SimCLR's for 32 pixels, which TUE and CP use.

    Attributes:
        smallest_area: the smallest share of the image's area that a crop takes; the largest is 1.
        narrowest: the smallest ratio of a crop's width to its height; the largest is its inverse.
        flip: probability that a view is mirrored.
        brightness: factors are drawn from 1 - this to 1 + this; the same for contrast and saturation.
        hue: rotations are drawn from -this to this, in full turns.
        jitter: probability that brightness, contrast, saturation and hue are changed.
        grey: probability that a view is made grey.
        shared: one draw for the whole batch instead of one for each image.
    """

    smallest_area: float = 0.2
    narrowest: float = 3 / 4
    flip: float = 0.5
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter: float = 0.8
    grey: float = 0.2
    shared: bool = False


def view(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """A random view of each image; a second call gives a second view.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        generator: on the images' device.

    Returns:
        float [B, 3, H, W] in [0, 1], channels-last, differentiable.
    """
    count, (height, width) = 1 if augmentation.shared else len(images), images.shape[2:]
    rows, columns = crops(count, height, width, augmentation, generator)
    factors = colours(count, augmentation, generator)
    cropped = rows[:, None] @ images @ columns[:, None].transpose(2, 3)
    return recolour(cropped, *factors).contiguous(memory_format=torch.channels_last)


def crops(
    count: int, height: int, width: int, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random crops, as matrices [count, H, H] and [count, W, W] that cut out, resize and mirror."""
    device = generator.device
    draw = torch.rand((5, TRIES, count), generator=generator, device=device)
    area = height * width * (augmentation.smallest_area + (1 - augmentation.smallest_area) * draw[0])
    ratio = torch.exp(math.log(augmentation.narrowest) * (1 - 2 * draw[1]))
    high, wide = (area / ratio).sqrt().round().clamp_min(1), (area * ratio).sqrt().round().clamp_min(1)
    fits = (high <= height) & (wide <= width)
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    fits = fits.gather(0, first)[0]
    high = torch.where(fits, high.gather(0, first)[0], height)
    wide = torch.where(fits, wide.gather(0, first)[0], width)
    top = (draw[2, 0] * (height - high + 1)).floor()
    left = (draw[3, 0] * (width - wide + 1)).floor()
    rows, columns = resizing(top, high, height), resizing(left, wide, width)
    mirrored = draw[4, 0] < augmentation.flip
    return rows, torch.where(mirrored[:, None, None], columns.flip(1), columns)


def resizing(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Bilinear weights, [count, size, size], that resize ``length`` pixels, the first at ``start``, to ``size`` pixels.

    Example: start 1, length 2, size 4 gives rows that read at the positions 1, 1.25, 1.75 and 2.
    """
    pixels = torch.arange(size, device=start.device)
    middle = start[:, None] + (pixels + 0.5) * (length / size)[:, None] - 0.5
    middle = torch.minimum(torch.maximum(middle, start[:, None]), (start + length - 1)[:, None])
    return (1 - (middle[:, :, None] - pixels).abs()).clamp_min(0)


def colours(
    count: int, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random (brightness, contrast, saturation, hue), each [count]; 1, 1, 1, 0 for images that are not changed."""
    draw = torch.rand((6, count), generator=generator, device=generator.device)
    touched = (draw[4] < augmentation.jitter).to(draw.dtype)
    offsets = touched * (2 * draw[:4] - 1)
    brightness = 1 + augmentation.brightness * offsets[0]
    contrast = 1 + augmentation.contrast * offsets[1]
    saturation = 1 + augmentation.saturation * offsets[2]
    saturation = torch.where(draw[5] < augmentation.grey, 0, saturation)
    return brightness, contrast, saturation, augmentation.hue * offsets[3]


def recolour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Changes saturation, hue, contrast and brightness by one affine map of the colours, clipped once at the end.

    The hue is changed by a rotation of RGB around the grey axis, which is linear; a rotation in HSV has no gradient at
    grey pixels. The two agree at thirds of a turn. Apart from hue and clipping, the order of the operations makes no
    difference, so it is not drawn.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        brightness, contrast, saturation: factors, [B] or [1].
        hue: rotations in full turns, [B] or [1].

    Returns:
        float [B, 3, H, W] in [0, 1].
    """
    luma, still = torch.tensor(LUMA, device=images.device), torch.eye(3, device=images.device)
    fade = saturation[:, None, None] * still + (1 - saturation[:, None, None]) * luma
    shift = 2 * math.pi * (hue[:, None] + torch.arange(3, device=images.device) / 3)
    turn = ((1 + 2 * shift.cos()) / 3)[:, ((0, 1, 2), (2, 0, 1), (1, 2, 0))]
    matrix = (brightness * contrast)[:, None, None] * (turn @ fade)
    pixels = images.flatten(2)
    grey = luma @ (turn @ fade @ pixels.mean(dim=2, keepdim=True))  # contrast scales the distance from it
    offset = (brightness * (1 - contrast))[:, None] * grey
    return (matrix @ pixels + offset[:, :, None]).clamp(0, 1).view(images.shape)
