"""Plasma: random fractal clouds by the diamond-square algorithm, as wide-ranging changes of brightness and contrast."""

from __future__ import annotations

import torch
from torch import Tensor


def plasma(roughness: Tensor, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """float [B, channels, H, W] in [0, 1], mean about 0.5: a cloud for each image and channel.

    A grid of 3 x 3 random values is refined until it covers the image, and is then cut to its size. Each refinement
    puts a value between all neighbours: the mean of the four diagonal ones, then of the four direct ones (three at the
    border), mixed with a random number whose share is ``roughness`` to the power of the refinements so far.

    Of the first grid, the corners are random, a value between two corners is a third of their sum and a new number's,
    and the centre a third of twice the mean of all corners and a new number.

    Args:
        roughness: float [B, 1, 1, 1] in [0, 1]; 0 gives smooth slopes, 1 noise.
        channels: clouds for each image.
        size: (height, width) in pixels.
        generator: on the device of ``roughness``.
    """
    drawn = torch.rand((len(roughness), channels, 3, 3), generator=generator, device=generator.device)
    grid, share = _seed(drawn), torch.ones_like(roughness)
    while grid.shape[2] < max(size):
        share = share * roughness
        grid = _refine(grid, share, generator)
    return grid[:, :, : size[0], : size[1]]


def _seed(drawn: Tensor) -> Tensor:
    """The first grid [..., 3, 3], from nine random numbers at its places."""
    grid = drawn.clone()
    for row, column, first, second in (
        (0, 1, (0, 0), (0, 2)),
        (2, 1, (2, 0), (2, 2)),
        (1, 0, (0, 0), (2, 0)),
        (1, 2, (0, 2), (2, 2)),
    ):
        ends = drawn[..., first[0], first[1]] + drawn[..., second[0], second[1]]
        grid[..., row, column] = (ends + drawn[..., row, column]) / 3
    corners = drawn[..., ::2, ::2].mean(dim=(-2, -1))
    grid[..., 1, 1] = (2 * corners + drawn[..., 1, 1]) / 3
    return grid


def _refine(grid: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
    """[B, C, 2 S - 1, 2 S - 1] from a grid [B, C, S, S]: its values, and new ones between them."""
    side = 2 * grid.shape[2] - 1
    fine = grid.new_zeros((*grid.shape[:2], side, side))
    drawn = torch.rand(fine.shape, generator=generator, device=generator.device)
    fine[:, :, ::2, ::2] = grid
    diagonal = (grid[:, :, :-1, :-1] + grid[:, :, :-1, 1:] + grid[:, :, 1:, :-1] + grid[:, :, 1:, 1:]) / 4
    fine[:, :, 1::2, 1::2] = diagonal.lerp(drawn[:, :, 1::2, 1::2], share)
    padded = torch.nn.functional.pad(fine, (1, 1, 1, 1))
    direct = (
        padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1] + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    )
    for rows, columns in ((0, 1), (1, 0)):
        sums, border = direct[:, :, rows::2, columns::2], fine.new_full((side, side), 4.0)
        border[0] = border[-1] = border[:, 0] = border[:, -1] = 3.0
        means = sums / border[rows::2, columns::2]
        fine[:, :, rows::2, columns::2] = means.lerp(drawn[:, :, rows::2, columns::2], share)
    return fine
