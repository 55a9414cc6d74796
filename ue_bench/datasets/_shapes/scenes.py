"""The content of each drawn picture as numbers, before any pixels are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ue_bench.datasets._shapes.outlines import SHAPES

NAMES = tuple(SHAPES)
TEXTURES = ("plain", "striped", "dotted", "checkered", "shaded")

# Red, green, blue in 0..1. None is near black or white, so that noise of 8/255 is not clipped.
COLOURS = {
    "red": (0.80, 0.16, 0.16),
    "orange": (0.88, 0.52, 0.14),
    "yellow": (0.88, 0.84, 0.24),
    "green": (0.18, 0.58, 0.22),
    "turquoise": (0.24, 0.76, 0.74),
    "blue": (0.18, 0.28, 0.80),
    "purple": (0.50, 0.20, 0.66),
    "pink": (0.90, 0.56, 0.74),
    "brown": (0.46, 0.29, 0.16),
    "gray": (0.50, 0.50, 0.50),
    "white": (0.88, 0.88, 0.88),
    "black": (0.12, 0.12, 0.12),
}
PALETTE = np.array(list(COLOURS.values()))
CONTRAST = 0.45  # smallest distance, in RGB 0..1, between the colours of a shape and its background

LINES, BLOBS = 3, 4  # the most lines and blobs of clutter in a picture
OPACITY = (-0.6, 0.8)  # range of the clutter's opacity; what is drawn below 0 is absent
RADIUS = (0.46, 0.63)  # range of a shape's radius in half-pictures
TILT = np.pi  # largest rotation of a shape to either side, in radians
FIELD = 0.03  # in 0..1: largest unevenness of the background, up or down
LIGHT = 0.04  # largest relative change of brightness from the centre to an edge, up or down


@dataclass(frozen=True)
class Scenes:
    """N pictures. Lengths are in half-pictures: a picture reaches from -1 to 1, y pointing down.

    Attributes:
        labels: int64 [N], the shape.
        colour, ground: int64 [N], the colours of shape and background, rows of ``PALETTE``.
        texture, ground_texture: int64 [N], the textures of shape and background, indices of ``TEXTURES``.
        centre: [N, 2], x and y of the shape.
        radius: [N], that of a circle with the shape's area.
        angle: [N], radians.
        tint, ground_tint: [N, 3], how far the two colours are from the palette's.
        weave, ground_weave: [N, 4], angle, period and the two offsets of the textures.
        field: [N, 3, 3, 3], an uneven light and colour of the background, interpolated between 3x3 points.
        light: [N, 2], a change of brightness across the whole picture, along x and y.
        lines: [N, LINES, 9], and blobs: [N, BLOBS, 7], the clutter (see ``drawing``).
        wording: [N, 16], uniform in 0..1: the numbers that select the captions' forms and words.
    """

    labels: NDArray[np.int64]
    colour: NDArray[np.int64]
    ground: NDArray[np.int64]
    texture: NDArray[np.int64]
    ground_texture: NDArray[np.int64]
    centre: NDArray[np.float64]
    radius: NDArray[np.float64]
    angle: NDArray[np.float64]
    tint: NDArray[np.float64]
    ground_tint: NDArray[np.float64]
    weave: NDArray[np.float64]
    ground_weave: NDArray[np.float64]
    field: NDArray[np.float64]
    light: NDArray[np.float64]
    lines: NDArray[np.float64]
    blobs: NDArray[np.float64]
    wording: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice | NDArray) -> Scenes:
        return Scenes(**{name: getattr(self, name)[part] for name in self.__dataclass_fields__})


class Deal:
    """Deals out the columns of a table of uniform random numbers in which each row belongs to a picture.

    The first pictures therefore do not depend on how many follow.
    """

    def __init__(self, seed: tuple[int, ...], rows: int, columns: int):
        self.table = np.random.default_rng(seed).random((rows, columns))
        self.used = 0

    def numbers(self, low: float, high: float, *shape: int) -> NDArray[np.float64]:
        """float64 [N, *shape], uniform in low..high."""
        width = int(np.prod(shape))
        columns = self.table[:, self.used : self.used + width]
        self.used += width
        return (low + (high - low) * columns).reshape(len(self.table), *shape)

    def choices(self, count: int, *shape: int) -> NDArray[np.int64]:
        """int64 [N, *shape], uniform in 0..count-1."""
        return self.numbers(0, count, *shape).astype(np.int64)


def sample(count: int, seed: tuple[int, ...]) -> Scenes:
    """``count`` pictures; every ten in a row, from the first, hold each shape once, in random order."""
    blocks = -(-count // len(NAMES))
    labels = np.random.default_rng((*seed, 1)).random((blocks, len(NAMES))).argsort(axis=1).ravel()[:count]
    deal = Deal((*seed, 0), count, 160)
    colour = deal.choices(len(PALETTE))
    radius = deal.numbers(*RADIUS)
    reach = np.maximum(1.0 - 1.25 * radius, 0.0)
    return Scenes(
        labels=labels.astype(np.int64),
        colour=colour,
        ground=contrasting(colour, deal.numbers(0, 1)),
        texture=deal.choices(len(TEXTURES)),
        ground_texture=deal.choices(len(TEXTURES)),
        centre=deal.numbers(-1, 1, 2) * reach[:, None],
        radius=radius,
        angle=deal.numbers(-TILT, TILT),
        tint=deal.numbers(-0.03, 0.03, 3),
        ground_tint=deal.numbers(-0.03, 0.03, 3),
        weave=weave(deal),
        ground_weave=weave(deal),
        field=deal.numbers(-FIELD, FIELD, 3, 3, 3),
        light=deal.numbers(-LIGHT, LIGHT, 2),
        lines=lines(deal),
        blobs=blobs(deal),
        wording=deal.numbers(0, 1, 16),
    )


def contrasting(colour: NDArray[np.int64], choice: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each colour, one of the colours with enough contrast to it, selected by a number in 0..1."""
    apart = np.sqrt(((PALETTE[:, None] - PALETTE[None]) ** 2).sum(2)) >= CONTRAST
    allowed = apart[colour]
    wanted = (choice * allowed.sum(1)).astype(np.int64)
    return (allowed.cumsum(1) > wanted[:, None]).argmax(1)


def weave(deal: Deal) -> NDArray[np.float64]:
    """[N, 4]: a texture's angle in radians, and its period and two offsets in half-pictures."""
    return np.concatenate(
        [deal.numbers(0, np.pi, 1), deal.numbers(0.28, 0.42, 1), deal.numbers(0, 1, 2)], axis=1
    )


def lines(deal: Deal) -> NDArray[np.float64]:
    """[N, LINES, 9]: two end points, half the width, the colour's three channels, opacity (0: absent)."""
    ends = deal.numbers(-1.1, 1.1, LINES, 4)
    width = deal.numbers(0.02, 0.05, LINES, 1)
    colours = deal.numbers(0.1, 0.9, LINES, 3)
    opacity = deal.numbers(*OPACITY, LINES, 1).clip(0)
    return np.concatenate([ends, width, colours, opacity], axis=2)


def blobs(deal: Deal) -> NDArray[np.float64]:
    """[N, BLOBS, 7]: centre, radius, the colour's three channels, opacity (0: absent)."""
    centre = deal.numbers(-1, 1, BLOBS, 2)
    radius = deal.numbers(0.06, 0.16, BLOBS, 1)
    colours = deal.numbers(0.1, 0.9, BLOBS, 3)
    opacity = deal.numbers(*OPACITY, BLOBS, 1).clip(0)
    return np.concatenate([centre, radius, colours, opacity], axis=2)
