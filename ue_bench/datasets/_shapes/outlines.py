"""Ten shapes as implicit functions: negative inside, positive outside, close to a distance near the edge.

All shapes have the same area and, except the circle and the ring, can be distinguished only by their outlines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def outline(name: str, x: Array, y: Array) -> Array:
    """The signed distance of points to a shape with the area of a circle of radius 1.

    Args:
        name: one of ``SHAPES``.
        x, y: float64 of any one shape; the shape stands upright around (0, 0), y pointing down.
    """
    grow = unit_scale(name)
    return SHAPES[name](x / grow, y / grow) * grow


@functools.cache
def unit_scale(name: str) -> float:
    """The factor that scales a shape, as it is written below, to the area of a circle of radius 1."""
    line = (np.arange(800) + 0.5) / 200 - 2
    covered = float((SHAPES[name](line[None, :], line[:, None]) < 0).mean()) * 16
    return float(np.sqrt(np.pi / covered))


def disc(x: Array, y: Array, radius: float = 1.0) -> Array:
    return np.sqrt(x * x + y * y) - radius


def box(x: Array, y: Array, width: float, height: float) -> Array:
    """A rectangle, given by half its width and half its height."""
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def sides(x: Array, y: Array, count: int, inner: float) -> Array:
    """[count, ...]: signed distances to the sides of a regular polygon with one corner up.

    ``inner`` is the radius of the inscribed circle.
    """
    angles = np.pi * (2 * np.arange(count) + 1) / count - np.pi / 2
    return np.stack([x * np.cos(a) + y * np.sin(a) - inner for a in angles])


def triangle(x: Array, y: Array) -> Array:
    return sides(x, y, 3, 0.6).max(0)


def hexagon(x: Array, y: Array) -> Array:
    return sides(x, y, 6, 0.9).max(0)


def star(x: Array, y: Array) -> Array:
    """A point lies in a five-pointed star if it lies behind at least four of a pentagon's five lines."""
    return np.sort(sides(x, y, 5, 0.4), axis=0)[-2]


def cross(x: Array, y: Array) -> Array:
    return np.minimum(box(x, y, 1.0, 0.32), box(x, y, 0.32, 1.0))


def ring(x: Array, y: Array) -> Array:
    return np.abs(disc(x, y, 0.8)) - 0.2


def heart(x: Array, y: Array) -> Array:
    """A square on its corner and a disc on each of its upper sides."""
    slanted = np.maximum(np.abs(x + y), np.abs(x - y)) * np.sqrt(0.5) - 0.5
    lobe = np.sqrt(0.125)
    return np.minimum(slanted, disc(np.abs(x) - lobe, y + lobe, 0.5))


def crescent(x: Array, y: Array) -> Array:
    return np.maximum(disc(x + 0.25, y), -disc(x - 0.25, y, 0.85))


def arrow(x: Array, y: Array) -> Array:
    """Points up: a shaft, and a head with a right angle at its tip."""
    head = np.maximum((np.abs(x) - y) * np.sqrt(0.5) - np.sqrt(0.5), y + 0.15)
    return np.minimum(head, box(x, y - 0.4, 0.27, 0.6))


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": disc,
    "square": functools.partial(box, width=1.0, height=1.0),
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "ring": ring,
    "heart": heart,
    "crescent": crescent,
    "hexagon": hexagon,
    "arrow": arrow,
}
