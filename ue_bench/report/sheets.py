"""Tables as columns of text, before any width or markup, and the short keys that long names get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ue_bench.dimensions import NOTHING
from ue_bench.report.display import Text

LIMITS = (30, 22, 16, 12)  # of a method's or a victim's name


@dataclass(frozen=True)
class Column:
    """A heading, and a cell for each row of the sheet."""

    heading: str
    cells: tuple[Text, ...]


@dataclass(frozen=True)
class Sheet:
    """A table: its title (or "" for a single one), the columns that name its rows, the columns of values."""

    title: str
    names: tuple[Column, ...]
    values: tuple[Column, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of names, then the columns of values."""
        return (*self.names, *self.values)

    @property
    def rows(self) -> list[tuple[Text, ...]]:
        """The cells row by row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


@dataclass
class Legend:
    """What short keys such as ``[a]`` stand for."""

    entries: dict[str, str] = field(default_factory=dict)  # meaning -> key

    def key(self, meaning: str) -> str:
        """The key of a text; the same text always gets the same key."""
        number = len(self.entries)
        return self.entries.setdefault(meaning, f"[{chr(97 + number % 26) * (1 + number // 26)}]")

    @property
    def lines(self) -> list[str]:
        """``[a] MEANING`` for each key, in order."""
        return [f"{key} {meaning}" for meaning, key in self.entries.items()]


def without_empty_rows(sheet: Sheet) -> Sheet:
    """The sheet without rows that have no value at all."""
    kept = [
        number
        for number in range(len(sheet.names[0].cells) if sheet.names else 0)
        if any(column.cells[number].body != NOTHING for column in sheet.values)
    ]

    def keep(columns: tuple[Column, ...]) -> tuple[Column, ...]:
        return tuple(
            Column(column.heading, tuple(column.cells[number] for number in kept)) for column in columns
        )

    return Sheet(sheet.title, keep(sheet.names), keep(sheet.values))


def arrange(
    sheets: Sequence[Sheet],
    legend: Legend,
    width: int | None,
    gap: int,
    edge: int,
    limits: Sequence[int] = LIMITS,
) -> list[Sheet]:
    """Splits the sheets until none is wider than ``width``, and shortens their names if that is not enough.

    Args:
        legend: receives the full form of every name that is shortened.
        width: the most characters in a line, or None for no limit.
        gap: characters between two columns.
        edge: characters around a line.
        limits: the most characters of a name, tried in turn until every table fits.
    """
    if width is None:
        return list(sheets)
    before = dict(legend.entries)
    for limit in limits:
        legend.entries = dict(before)
        found = [
            part for sheet in sheets for part in _split(_shorten(sheet, legend, limit), width, gap, edge)
        ]
        if all(breadth(part, gap, edge) <= width for part in found):
            break
    return found


def breadth(sheet: Sheet, gap: int, edge: int) -> int:
    """The number of characters in the sheet's lines."""
    return sum(_breadth(column) + gap for column in sheet.columns) - gap + edge


def _breadth(column: Column) -> int:
    cells = [len(str(text)) + (4 if text.bold else 0) for text in column.cells]  # ** on both sides
    return max([len(column.heading), *cells])


def _split(sheet: Sheet, width: int, gap: int, edge: int) -> list[Sheet]:
    parts: list[list[Column]] = [[]]
    for column in sheet.values:
        grown = Sheet("", sheet.names, (*parts[-1], column))
        if parts[-1] and breadth(grown, gap, edge) > width:
            parts.append([])
        parts[-1].append(column)
    return [Sheet(sheet.title if not number else "", sheet.names, tuple(p)) for number, p in enumerate(parts)]


def _shorten(sheet: Sheet, legend: Legend, limit: int) -> Sheet:
    def short(text: str, most: int) -> str:
        if len(text) <= most:
            return text
        key = legend.key(text)
        room = most - len(key) - 1
        if "/" in text.split(maxsplit=1)[0]:  # paths differ at their ends
            return f"…{text[-room:]}{key}"
        return f"{text[:room]}…{key}"

    names = tuple(
        Column(
            column.heading,
            tuple(Text(short(text.body, limit), text.sign, text.tail, text.bold) for text in column.cells),
        )
        for column in sheet.names
    )
    values = tuple(Column(short(column.heading, max(18, limit)), column.cells) for column in sheet.values)
    return Sheet(sheet.title, names, values)
