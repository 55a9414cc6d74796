"""Small charts as numbers and paths; the templates make inline SVG of them, and colours are the style sheet's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """From values to pixels: ``low`` is drawn at ``start`` and ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; values beyond the ends are drawn at the ends."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, text) at round values."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            values = [10.0**power for power in range(first, last + 1)]
        else:
            step = round_step((self.high - self.low) / 4)
            first = math.ceil(self.low / step - 1e-9)
            values = [step * n for n in range(first, int(self.high / step + 1e-9) + 1)]
        return [(self.at(value), f"{value:g}") for value in values]


@dataclass(frozen=True)
class Line:
    """A line with its band, its dots, its name, and the class of the style sheet that colours it."""

    look: str
    path: str
    name: str
    band: str = ""
    dots: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A dot with a text beside it."""

    look: str
    x: float
    y: float
    text: str
    text_x: float = 0.0
    text_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Chart:
    """A chart, in pixels."""

    title: str
    width: int
    height: int
    x: Scale
    y: Scale
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()


def round_step(rough: float) -> float:
    """1, 2, 5 or 10 times a power of ten, the next above. Example: 0.17 gives 0.2, 13 gives 20."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))


def chart_scales(
    xs: Sequence[float],
    ys: Sequence[float],
    size: tuple[int, int],
    log: bool = False,
    top: float | None = None,
) -> tuple[Scale, Scale]:
    """Scales for these values: y from 0 to a round value, x from the lowest to the highest."""
    width, height = size
    step = round_step((max(ys, default=1.0) or 1.0) / 4)
    high = top or step * math.ceil(max(ys, default=1.0) / step - 1e-9)
    low_x, high_x = min(xs, default=0.0), max(xs, default=1.0)
    if log:
        low_x, high_x = 10 ** math.floor(math.log10(low_x)), 10 ** math.ceil(math.log10(high_x))
    return Scale(low_x, high_x, 34, width - 14, log), Scale(0.0, high or 1.0, height - 30, 8)


def path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    """The path through these values."""
    return "M" + "L".join(f"{x.at(a):g} {y.at(b):g}" for a, b in points)


def band(curve: Sequence[tuple[float, float, float]], x: Scale, y: Scale) -> str:
    """The area of one standard deviation around (x, mean, deviation), or "" where there is none."""
    if not any(spread for _, _, spread in curve):
        return ""
    upper = [(a, mean + spread) for a, mean, spread in curve]
    lower = [(a, mean - spread) for a, mean, spread in reversed(curve)]
    return path([*upper, *lower], x, y) + "Z"


def place_texts(
    marks: Sequence[tuple[float, float, str]], width: int, height: int, levels: Sequence[float] = ()
) -> list[tuple[float, float, str]]:
    """Where the texts of dots stand so that none covers another, a dot, or a level line at one of ``levels``.

    Returns:
        (x, y, anchor) for each, beside its dot.
    """
    taken = [(x - 5.0, y, 10.0, 10.0) for x, y, _ in marks] + [(0.0, y, float(width), 9.0) for y in levels]
    found = []
    for x, y, text in marks:
        wide = 6.2 * len(text)
        sides = [("start", x + 8)] if x + 8 + wide < width else []
        sides += [("end", x - 8 - wide)] if x - 8 - wide > 0 else []
        moves = [0.0] + [sign * 12.0 * n for n in range(1, 14) for sign in (-1, 1)]
        free = (
            (anchor, left, y + move)
            for move in moves
            for anchor, left in sides
            if 10 <= y + move <= height and not _hits(left, y + move, wide, taken)
        )
        anchor, left, middle = next(free, ("start", x + 8, y))
        taken.append((left, middle, wide, 12.0))
        found.append((x + 8 if anchor == "start" else x - 8, middle + 4, anchor))
    return found


def _hits(
    left: float, middle: float, wide: float, taken: Sequence[tuple[float, float, float, float]]
) -> bool:
    return any(
        left < other + width and other < left + wide and abs(middle - y) < high
        for other, y, width, high in taken
    )
