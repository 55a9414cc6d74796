"""Sentences that are true of drawn scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ue_bench.datasets._shapes.scenes import COLOURS, NAMES, TEXTURES, Scenes

SMALL, LARGE = 0.51, 0.58  # radii, in half-pictures: below is small, above is large
MIDDLE = 0.12  # half-pictures: up to this distance from the picture's centre, along x or y, is "the middle"

# Synonyms, of which each caption picks one.
SIZES = {"small": ("small", "little"), "": ("", "medium-sized"), "large": ("large", "big")}
ADJECTIVES = {
    "plain": ("", "plain"),
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered",),
    "shaded": ("shaded",),
}
PATTERNS = {
    "plain": ("",),
    "striped": ("with stripes",),
    "dotted": ("with dots", "with spots"),
    "checkered": ("with a checkered pattern", "with checks"),
    "shaded": ("with a gradient", "with shading"),
}
ROWS, COLUMNS = (("upper", "top"), ("",), ("lower", "bottom")), ("left", "", "right")


@dataclass(frozen=True)
class Facts:
    """The words that one caption uses for one picture; a word that does not apply is empty."""

    shape: str
    colour: str
    ground: str
    size: str
    adjective: str
    pattern: str
    place: str  # "upper left", "top", "right" or "middle"


def plainly(f: Facts) -> str:
    return f"{a(f.size, f.colour, f.shape, f.pattern)} on {a(f.ground, 'background')}, {at(f)} of the picture"


def place_first(f: Facts) -> str:
    return f"{at(f)} of {a(f.ground, 'picture')} there is {a(f.size, f.adjective, f.colour, f.shape)}"


def ground_first(f: Facts) -> str:
    return f"{a(f.ground, 'background')} with {a(f.size, f.colour, f.shape, f.pattern)} {at(f)}"


def drawing(f: Facts) -> str:
    return f"a drawing of {a(f.size, f.adjective, f.colour, f.shape)} {at(f)}; the background is {f.ground}"


def shape_first(f: Facts) -> str:
    manner = join(f.size, f.adjective, f.colour)
    return f"{a(f.shape)}, {manner}, is drawn {at(f)} in front of {a(f.ground, 'background')}"


TEMPLATES: tuple[Callable[[Facts], str], ...] = (plainly, place_first, ground_first, drawing, shape_first)


def captions(scenes: Scenes, count: int) -> tuple[tuple[str, ...], ...]:
    """``count`` sentences for each picture, each of another form; the first ones do not depend on ``count``."""
    orders = scenes.wording[:, : len(TEMPLATES)].argsort(axis=1)
    return tuple(
        tuple(TEMPLATES[orders[row, k]](facts(scenes, row, scenes.wording[row, 5 + k])) for k in range(count))
        for row in range(len(scenes))
    )


def facts(scenes: Scenes, row: int, choice: float) -> Facts:
    """The words for picture ``row``, in the synonyms that ``choice`` (0..1) selects."""
    colours, texture = tuple(COLOURS), TEXTURES[scenes.texture[row]]

    def pick(words: tuple[str, ...], digit: int) -> str:
        return words[int(choice * 2**digit % 1 * len(words))]

    radius = scenes.radius[row]
    size = "small" if radius < SMALL else "large" if radius > LARGE else ""
    return Facts(
        shape=NAMES[scenes.labels[row]],
        colour=colours[scenes.colour[row]],
        ground=colours[scenes.ground[row]],
        size=pick(SIZES[size], 0),
        adjective=pick(ADJECTIVES[texture], 1),
        pattern=pick(PATTERNS[texture], 2),
        place=place(scenes.centre[row], lambda words: pick(words, 3)),
    )


def place(centre: NDArray[np.float64], pick: Callable[[tuple[str, ...]], str]) -> str:
    """Where a shape stands, such as "upper left", "bottom" or "middle"."""
    column, row = (0 if c < -MIDDLE else 2 if c > MIDDLE else 1 for c in centre)
    words = join(pick(ROWS[row]), COLUMNS[column])
    return {"": "middle", "upper": "top", "lower": "bottom"}.get(words, words)


def at(f: Facts) -> str:
    """The place with its preposition: "in the upper left", "on the right", "at the top"."""
    if f.place in ("left", "right"):
        return f"on the {f.place}"
    return f"{'at' if f.place in ('top', 'bottom') else 'in'} the {f.place}"


def join(*words: str) -> str:
    return " ".join(word for word in words if word)


def a(*words: str) -> str:
    """The words with "a" or "an" before them."""
    text = join(*words)
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
