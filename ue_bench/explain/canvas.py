"""A figure laid out in inches from its upper left corner: pictures, lines of text, captions word by word."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ue_bench.report.figures.style import SETTINGS

MONO = "DejaVu Sans Mono"  # comes with matplotlib; all its characters have the same width
ADVANCE = 0.602  # width of a character, as a share of the font size
TRIGGER = "#A3283A"
PLAIN: Any = {**SETTINGS, "axes.grid": False}


@dataclass(frozen=True)
class Word:
    """A word or a piece of one.

    Attributes:
        text: the text as shown.
        marked: True for a part of a trigger.
        fill: the colour behind it, or "".
    """

    text: str
    marked: bool = False
    fill: str = ""


class Canvas:
    """A figure of ``width`` x ``height`` inches; distances count from its upper left corner."""

    def __init__(self, width: float, height: float):
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Writes one or more lines with their middle at ``y``; the text is never read as mathematics."""
        style = {"va": "center", "fontsize": 8, "parse_math": False, **style}
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)

    def heading(self, text: str, y: float = 0.3) -> None:
        """The title, as large as fits in two lines."""
        letters = int((self.width - 0.3) * 72 / 11 / 0.56)
        self.text(0.15, y, "\n".join(textwrap.wrap(text, letters)[:2]), fontsize=11)

    def picture(self, x: float, y: float, side: float, image: Tensor) -> Any:
        """Draws uint8 [3, H, W] into a square of ``side`` inches, every pixel a square; returns its axes."""
        axis = self.figure.add_axes(
            (x / self.width, 1 - (y + side) / self.height, side / self.width, side / self.height)
        )
        axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_axis_off()
        return axis

    def words(
        self, x: float, y: float, width: float, lines: int, words: Sequence[Word], size: float = 8.0
    ) -> None:
        """Writes words in at most ``lines`` lines; three dots replace the words that do not fit.

        Args:
            y: the middle of the first line.
            size: the font size, in points.
        """
        letter, gap = ADVANCE * size / 72, 1.0 if not any(word.fill for word in words) else 1.5
        most = width / letter
        for word, line, column in place_words(words, most, lines, gap):
            box = None
            if word.fill:
                edge = TRIGGER if word.marked else "none"
                box = {
                    "facecolor": word.fill,
                    "edgecolor": edge,
                    "boxstyle": "square,pad=0.12",
                    "linewidth": 1.2,
                }
            self.text(
                x + column * letter,
                y + line * (2.0 if word.fill else 1.7) * size / 72,
                word.text,
                family=MONO,
                fontsize=size,
                color=TRIGGER if word.marked and not word.fill else "black",
                weight="bold" if word.marked else "normal",
                bbox=box,
            )


def place_words(words: Sequence[Word], most: float, lines: int, gap: float) -> list[tuple[Word, int, float]]:
    """(word, its line, its column) for all words that fit; a column is as wide as a character.

    Args:
        most: columns in a line.
        lines: number of lines.
        gap: columns between words.

    Example: "a", "dog", "runs" in 6 columns and gap 1 stand at (0, 0), (0, 2), (1, 0).
    """
    placed: list[tuple[Word, int, float]] = []
    line, column = 0, 0.0
    for word in words:
        word = Word(printable(word.text) or "·", word.marked, word.fill)
        if len(word.text) > most:
            word = Word(word.text[: max(1, int(most) - 3)] + "...", word.marked, word.fill)
        if column and column + len(word.text) > most:
            line, column = line + 1, 0.0
        if line == lines:
            _end_with_dots(placed, most)
            break
        placed.append((word, line, column))
        column += len(word.text) + gap
    return placed


def printable(text: str) -> str:
    """The text in one line, with a small box for each character that the font lacks."""
    letters = _letters()
    return "".join(letter if ord(letter) in letters else "▯" for letter in " ".join(text.split()))


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(MONO)).get_charmap())


def _end_with_dots(placed: list[tuple[Word, int, float]], most: float) -> None:
    """Replaces the end of the last line by three dots."""
    while placed and placed[-1][2] + len(placed[-1][0].text) + 4 > most and placed[-1][2] > 0:
        placed.pop()
    if placed:
        word, line, column = placed[-1]
        placed.append((Word("..."), line, min(column + len(word.text) + 1, most - 3)))
