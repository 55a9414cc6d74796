"""Changes of shape and colour with a strength of its own for every image of a batch, on floats."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample

GRAY = (0.299, 0.587, 0.114)  # ITU-R 601


def warp(images: Tensor, matrices: Tensor, shifts: Tensor) -> Tensor:
    """Each image seen through an affine map about its middle, nearest pixel, black outside.

    Args:
        images: float [B, 3, H, W].
        matrices: float [B, 2, 2], with ``shifts`` the way from a pixel's (x, y), seen from the middle, to where its
            value comes from.
        shifts: float [B, 2] in pixels, (x, y).
    """
    height, width = images.shape[2:]
    ratio = height / width
    scaled = matrices * matrices.new_tensor([[1, ratio], [1 / ratio, 1]])  # affine_grid: both axes are 2 long
    moved = shifts * shifts.new_tensor([2 / width, 2 / height])
    with torch.autocast(images.device.type, enabled=False):
        maps = torch.cat([scaled, moved[:, :, None]], dim=2).to(images.dtype)
        grid = affine_grid(maps, list(images.shape), align_corners=False)
        return grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def matrix(first: Tensor, second: Tensor, third: Tensor, fourth: Tensor) -> Tensor:
    """float [B, 2, 2] from its numbers, row by row, each float [B]."""
    return torch.stack([first, second, third, fourth], dim=1).view(-1, 2, 2)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """The images [B, 3, H, W] times the factor [B, 1, 1, 1], cut to [0, 1]."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """The images' distance to their mean gray value, times the factor, cut to [0, 1]."""
    return _gray(images).mean(dim=(2, 3), keepdim=True).lerp(images, factor).clamp(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """The pixels' distance to their own gray value, times the factor, cut to [0, 1]."""
    return _gray(images).lerp(images, factor).clamp(0, 1)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """The pixels' distance to a smooth picture, times the factor, cut to [0, 1]; the outermost pixels stay.

    The smooth picture is PIL's: the mean of a pixel and its eight neighbours, the pixel counted five times.
    """
    kernel = images.new_ones(3, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    with torch.autocast(images.device.type, enabled=False):
        smooth = conv2d(images, kernel / 13, groups=3)
    whole = images.clone()
    whole[:, :, 1:-1, 1:-1] = smooth
    return whole.lerp(images, factor).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    return (images * images.new_tensor(GRAY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
