"""A report as one wide table of text with all columns, before any markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ue_bench import measures
from ue_bench.dimensions import NOTHING, UNBOUNDED, heading, value_in_words
from ue_bench.report.cells import Cell
from ue_bench.report.footnotes import SIGNS
from ue_bench.report.layout import Key
from ue_bench.report.printed import Match
from ue_bench.report.tables import Report, Row

_COSTS = {
    "psnr_db": ("PSNR dB", 1.0),
    "separable_percent": ("separable %", 1.0),
    "linear_detector_percent": ("detected % (linear)", 1.0),
    "two_layer_detector_percent": ("detected % (two layers)", 1.0),
    "prepare_seconds": ("prepare s", 1.0),
    "protect_seconds": ("protect s", 1.0),
    "train_seconds": ("train s", 1.0),
    "peak_bytes": ("peak GB", 1e9),
    **{one.name: (one.label, 1.0) for one in measures.SPEEDS},
}
_ALWAYS = ("psnr_db", "protect_seconds", "train_seconds", "peak_bytes")  # the others where a row has them


@dataclass(frozen=True)
class Text:
    """A cell: the number, its footnote sign, what follows it, and whether it is bold."""

    body: str
    sign: str = ""
    tail: str = ""
    bold: bool = False

    def __str__(self) -> str:
        return f"{self.body}{self.sign} {self.tail}".strip()


@dataclass(frozen=True)
class Grid:
    """Headings, rows with a cell for each heading, and the number of columns on the left that hold names."""

    headings: list[str]
    rows: list[list[Text]]
    names: int


def grid(report: Report) -> Grid:
    """The table to print: one value with its best epoch, or one column for each dataset, victim, ..."""
    values = [(column, view) for column in report.columns for view in report.measured]
    single = len(values) <= 1
    origins = _origins(report)
    costs = [name for name in _COSTS if name in _ALWAYS or any(r.costs.get(name) for r in report.rows)]
    with_marks = any(row.marks for row in report.rows)
    headings = [heading(dimension) for dimension in report.layout.rows]
    if single:
        headings.append(report.measure.label)
        if report.measure.best:
            headings.append("best (epoch)")
    else:
        headings += [_value_heading(report, column, view) for column, view in values]
    headings += [_origin_heading(view, column, origin) for column, view, origin in origins]
    headings += [_COSTS[name][0] for name in costs]
    if with_marks:
        headings.append("marks")
    rows = []
    for number, row in enumerate(report.rows):
        texts = _names(report, row)
        texts += [_value(view.rows[number].cells.get(column), view) for column, view in values]
        if single and report.measure.best:
            texts.append(_best(next(iter(row.cells.values())), report))
        texts += [_published(v.rows[number].cells.get(c), origin, v) for c, v, origin in origins]
        texts += [_cost(row, name) for name in costs]
        if with_marks:
            texts.append(Text(", ".join(row.marks)))
        rows.append(texts)
    return Grid(headings, rows, len(report.layout.rows))


def column_name(report: Report, column: Key) -> str:
    """A column's heading. A lone number or word says what it is: ``ratio 80%``, ``defense none``."""
    texts = []
    for dimension, value in zip(report.layout.columns, column, strict=True):
        text = value_in_words(dimension, value)
        plain = dimension in ("poison_ratio", "defense", "seed")
        texts.append(f"{heading(dimension)} {text}" if plain else text)
    return ", ".join(texts)


def setting(report: Report) -> str:
    """What is the same throughout, in words: dataset, victim, defense, ratio, and what the columns count."""
    texts = [f"{heading(d)} {value_in_words(d, value)}" for d, value in report.layout.constant.items()]
    if report.others:
        labels = [", ".join(view.measure.label for view in report.measured)]
    else:
        labels = [report.measure.label] if len(report.columns) > 1 else []
    return "; ".join([*labels, ", ".join(texts)])


def value_of(row: Row, dimension: str, value: Any) -> str:
    """A value of the row's key in words; a budget without bound is followed by the mean L2 norm that was measured."""
    text = value_in_words(dimension, value)
    if dimension != "budget" or text.partition(",")[0] != UNBOUNDED:
        return text
    records = [record for cell in row.cells.values() for record in cell.records]
    norms = [
        norm
        for record in records
        if (norm := measures.number((record.get("noise") or {}).get("l2"))) is not None
    ]
    return f"{text} (L2 {sum(norms) / len(norms):.1f})" if norms else text


def _names(report: Report, row: Row) -> list[Text]:
    silent = ("granularity", "poison_ratio") if row.trial.get("control") == "clean" else ()
    pairs = zip(report.layout.rows, row.key, strict=True)
    return [Text(NOTHING if d in silent else value_of(row, d, value)) for d, value in pairs]


def _value(cell: Cell | None, report: Report) -> Text:
    if cell is None or (report.measure.cost and cell.control == "clean"):
        return Text(NOTHING)
    if cell.summary is None:
        return Text(cell.state)
    planned, n = len(cell.findings), cell.summary.n
    tail = f"(n={n} of {planned})" if n != planned else f"(n={n})" if n > 1 else ""
    return Text(spread(cell.summary.mean, cell.summary.std, report), signs(cell), tail, cell.leads)


def signs(cell: Cell) -> str:
    """The footnote signs of a cell's marks."""
    return "".join(SIGNS.get(mark, "") for mark in cell.marks)


def spread(mean: float, std: float | None, report: Report) -> str:
    """``12.00 ± 2.00``, or the mean alone for one run."""
    text = report.measure.text
    return text(mean) if std is None else f"{text(mean)} ± {text(std)}"


def _best(cell: Cell, report: Report) -> Text:
    if cell.best is None:
        return Text(NOTHING)
    epochs = sorted(set(cell.epochs))
    span = f"({epochs[0]})" if len(epochs) == 1 else f"({epochs[0]}–{epochs[-1]})" if epochs else ""
    return Text(spread(cell.best.mean, cell.best.std, report), tail=span)


def _cost(row: Row, name: str) -> Text:
    value = row.costs.get(name)
    if value is None:
        return Text(NOTHING)
    digits = 2 if name == "peak_bytes" else 1
    return Text(f"{value / _COSTS[name][1]:.{digits}f}")


def _value_heading(report: Report, column: Key, view: Report) -> str:
    parts = []
    if len(report.columns) > 1:
        parts.append(column_name(report, column))
    if report.others:
        parts.append(view.measure.short)
    return " ".join(parts)


def _origins(report: Report) -> list[tuple[Key, Report, str]]:
    """(column, metric, paper and table) for which there is any printed number."""
    found = {
        (column, number, match.figure.origin): None
        for column in report.columns
        for number, view in enumerate(report.measured)
        for row in view.rows
        if (cell := row.cells.get(column))
        for match in cell.printed
    }
    return [(column, report.measured[number], origin) for column, number, origin in found]


def _origin_heading(report: Report, column: Key, origin: str) -> str:
    """The heading of a column of printed numbers.

    It names paper and table, the paper's dataset and victim if the suite says that they differ from its own, and
    the column if there are several.
    """
    cells = [cell for row in report.rows if (cell := row.cells.get(column))]
    figures = [m.figure for cell in cells for m in cell.printed if m.figure.origin == origin]
    several = len((report.plan.get("table") or {}).get("metrics") or []) > 1
    parts = [f"{report.measure.short} in {origin}" if several else origin]
    elsewhere = any((report.plan.get("published") or {}).values())
    if elsewhere:
        for key in ("dataset", "victim"):
            parts.append(" / ".join(dict.fromkeys(getattr(figure, key) for figure in figures)))
    text = ", ".join(parts)
    if len(report.columns) > 1:
        name = column_name(report, column)
        return f"published beside {name}: {text}" if elsewhere else f"published: {name} in {text}"
    return f"published: {text}"


def _published(cell: Cell | None, origin: str, report: Report) -> Text:
    matches = [match for match in (cell.printed if cell else ()) if match.figure.origin == origin]
    several = len({match.figure.method for match in matches}) > 1
    return Text(" / ".join(dict.fromkeys(_printed(m, several, report) for m in matches)) or NOTHING)


def _printed(match: Match, named: bool, report: Report) -> str:
    notes = [match.figure.method] if named else []
    if match.note:
        notes.append(match.note)
    text = report.measure.text(match.figure.value)
    return f"{text} ({', '.join(notes)})" if notes else text
