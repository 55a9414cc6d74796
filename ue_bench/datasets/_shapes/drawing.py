"""Draws scenes as 8-bit pixels, at any size, many pictures at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ue_bench.datasets._shapes.outlines import Array, outline
from ue_bench.datasets._shapes.scenes import NAMES, PALETTE, TEXTURES, Scenes

CHUNK = 1 << 17  # pixels that are drawn at once, so that the arrays of a chunk fit into a CPU's cache
GRAIN = 2  # steps of 1/255: radius of the uniform noise on each pixel
SHADE = 0.08  # in 0..1: how far the two tones of a texture are from the colour itself
GROUND_SHADE = 0.02
GREY = 127.5  # steps of 1/255


def draw(scenes: Scenes, size: int, seed: tuple[int, ...], contrast: float = 1.0) -> NDArray[np.uint8]:
    """uint8 [N, 3, size, size]. ``seed`` is for the grain, which is drawn anew at every size.

    ``contrast`` in 0..1 is how far the colours stay from mid-grey; the grain stays as it is.
    """
    images = np.empty((len(scenes), 3, size, size), dtype=np.uint8)
    grain = np.random.default_rng((*seed, 2, size))
    step = max(1, CHUNK // size**2)
    for start in range(0, len(scenes), step):
        part = scenes[start : start + step]
        levels = paint(part, size) * 255
        if contrast != 1:
            levels = GREY + contrast * (levels - GREY)
        levels += grain.random(levels.shape) * (2 * GRAIN) - GRAIN
        images[start : start + step] = np.rint(levels).clip(0, 255)
    return images


def paint(scenes: Scenes, size: int) -> Array:
    """float64 [N, 3, size, size], about 0..1, without grain."""
    line = (np.arange(size) + 0.5) * (2 / size) - 1
    x, y = line[None, None, :], line[None, :, None]
    soft = 2 / size  # an edge fades over one pixel

    shade = texture(scenes.ground_texture, scenes.ground_weave, x, y, soft) * GROUND_SHADE
    canvas = (PALETTE[scenes.ground] + scenes.ground_tint)[:, :, None, None] + shade[:, None]
    canvas = canvas + smooth_field(scenes.field, line)
    for row in np.moveaxis(scenes.lines, 1, 0):
        canvas = cover(canvas, segment(row[:, :4], x, y) - across(row[:, 4]), soft, row[:, 5:8], row[:, 8])
    for row in np.moveaxis(scenes.blobs, 1, 0):
        distance = np.sqrt((x - across(row[:, 0])) ** 2 + (y - across(row[:, 1])) ** 2) - across(row[:, 2])
        canvas = cover(canvas, distance, soft, row[:, 3:6], row[:, 6])

    shade = texture(scenes.texture, scenes.weave, x, y, soft) * SHADE
    fill = (PALETTE[scenes.colour] + scenes.tint)[:, :, None, None] + shade[:, None]
    inside = coverage(shape_distance(scenes, x, y), soft)[:, None]
    canvas = canvas + inside * (fill - canvas)
    light = 1 + across(scenes.light[:, 0]) * x + across(scenes.light[:, 1]) * y
    return canvas * light[:, None]


def across(numbers: NDArray) -> NDArray:
    """[N] -> [N, 1, 1]."""
    return numbers[:, None, None]


def coverage(distance: Array, soft: float) -> Array:
    """The share of each pixel that lies inside, from the signed distance of its centre."""
    return (0.5 - distance / soft).clip(0, 1)


def cover(canvas: Array, distance: Array, soft: float, colour: Array, opacity: Array) -> Array:
    """Paints ``colour`` [N, 3] over what lies inside."""
    share = (coverage(distance, soft) * across(opacity))[:, None]
    return canvas + share * (colour[:, :, None, None] - canvas)


def segment(ends: Array, x: Array, y: Array) -> Array:
    """Distances to line segments, whose ends [N, 4] are x, y of the first and x, y of the second."""
    ax, ay, bx, by = (across(column) for column in ends.T)
    dx, dy = bx - ax, by - ay
    along = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + 1e-9)).clip(0, 1)
    return np.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)


def shape_distance(scenes: Scenes, x: Array, y: Array) -> Array:
    """float64 [N, size, size]: signed distances to the outline of each picture's shape, at its place."""
    dx, dy = x - across(scenes.centre[:, 0]), y - across(scenes.centre[:, 1])
    cos, sin = across(np.cos(scenes.angle)), across(np.sin(scenes.angle))
    radius = across(scenes.radius)
    u, v = (cos * dx + sin * dy) / radius, (cos * dy - sin * dx) / radius
    distance = np.empty_like(u)
    for label in np.unique(scenes.labels):
        chosen = scenes.labels == label
        distance[chosen] = outline(NAMES[label], u[chosen], v[chosen])
    return distance * radius


def texture(kinds: NDArray[np.int64], weave: Array, x: Array, y: Array, soft: float) -> Array:
    """float64 [N, size, size]: the textures, -1..1, with a mean of about 0."""
    cos, sin = across(np.cos(weave[:, 0])), across(np.sin(weave[:, 0]))
    period = across(weave[:, 1])
    along, beside = cos * x + sin * y, cos * y - sin * x
    u, v = wave(along / period + across(weave[:, 2])), wave(beside / period + across(weave[:, 3]))
    sharp = period / (4 * soft)  # factor on the waves' slope, so that a tone changes within about two pixels
    tones = {
        "plain": np.zeros_like(u),
        "striped": u * sharp,
        "dotted": (1.4 - np.sqrt((1 - u) ** 2 + (1 - v) ** 2)) * sharp,
        "checkered": u * v * 2 * sharp,
        "shaded": along * 1.2,
    }
    return np.choose(across(kinds), [tones[name].clip(-1, 1) for name in TEXTURES])


def wave(phase: Array) -> Array:
    """A triangle wave of period 1 between -1 and 1. It is not a sine, so that all machines draw the same pixels."""
    return np.abs((phase - np.floor(phase)) * 4 - 2) - 1


def smooth_field(points: Array, line: Array) -> Array:
    """[N, 3, 3, 3] values at corners, edges and centre -> [N, 3, size, size], linear in between."""
    weights = np.maximum(1 - np.abs(line[None, :] - np.array([-1.0, 0.0, 1.0])[:, None]), 0)
    first, second, third = (points[:, :, k, None, :] * weights[k][:, None] for k in range(3))
    rows = first + second + third
    left, middle, right = (rows[..., k, None] * weights[k] for k in range(3))
    return left + middle + right
