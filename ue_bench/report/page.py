"""A report as a person reads it, before any markup: what it shows, tables that fit, legends, words, details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ue_bench.dimensions import NOTHING, heading, value_in_words
from ue_bench.measures import BEST_EPOCH, LAST
from ue_bench.progress import duration
from ue_bench.report import cost
from ue_bench.report.display import grid
from ue_bench.report.display import setting as wide_setting
from ue_bench.report.footer import Line, footer, wall_cost
from ue_bench.report.footnotes import reductions, remarks, scales, sources, troubles
from ue_bench.report.reading import (
    REDUCED,
    column_name,
    common_n,
    cost_unit,
    leading,
    matches_of,
    origin_of,
    reading_sheets,
    row_name,
    varying,
)
from ue_bench.report.sheets import Column, Legend, Sheet, arrange
from ue_bench.report.tables import Report, Row
from ue_bench.report.verdicts import sentence, short_control

WIDTH = 120  # characters in a table's line by default


@dataclass(frozen=True)
class View:
    """How a person wants a report.

    Attributes:
        wide: True for one table with all columns: best epochs, PSNR, phases, memory, every source of printed numbers.
        details: True to show on a terminal the details that are folded away.
        width: characters in a line.
        colour: True for colours on a terminal.
        pictures: for a page in a browser: noise key -> a picture of it.
        links: for a page in a browser: trial id -> address of its record.
    """

    wide: bool = False
    details: bool = False
    width: int = WIDTH
    colour: bool = False
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """What is printed, from top to bottom; ``details`` are folded away, and ``brief`` sums them up in one line."""

    title: str
    intro: tuple[str, ...]
    sheets: tuple[Sheet, ...]
    notes: tuple[str, ...]
    words: str
    details: tuple[Line, ...]
    brief: str


def make_page(report: Report, view: View, width: int | None, gap: int, edge: int) -> Page:
    """The page of a report.

    Args:
        width: the most characters in a table's line, or None for no limit.
        gap: characters between two columns.
        edge: characters around a line.
    """
    legend = Legend()
    if view.wide:
        sheets, intro, notes = [_wide_sheet(report)], [wide_setting(report)], []
    else:
        sheets = reading_sheets(report, legend)
        intro, notes = _intro(report), _explanations(report, sheets)
    words = _words(report, legend)
    sheets = arrange(sheets, legend, width, gap, edge)
    reduced = reductions(report)
    notes = [*legend.lines, *notes, *troubles(report), *remarks(report), *scales(report)]
    if view.wide or not matches_of(report.measured):
        notes += sources(report)  # otherwise they are named above the table
    if any(row.reduced for row in report.rows):
        notes.append(f"{REDUCED} reduced: ran with less than its paper's settings, see the details")
    plan, below = report.plan, footer(report)
    return Page(
        title=str(plan.get("title") or plan.get("suite") or "report"),
        intro=tuple(line for line in intro if line),
        sheets=tuple(sheet for sheet in sheets if sheet.columns),
        notes=tuple(notes),
        words=words,
        details=(*(_labelled(note) for note in reduced), *_other_sources(report), *below),
        brief=_brief(report, below),
    )


def _wide_sheet(report: Report) -> Sheet:
    table = grid(report)
    columns = [
        Column(head, tuple(row[place] for row in table.rows)) for place, head in enumerate(table.headings)
    ]
    return Sheet("", tuple(columns[: table.names]), tuple(columns[table.names :]))


def _intro(report: Report) -> list[str]:
    """What the numbers are, which dimensions do not vary, and which paper's numbers stand beside them."""
    measures = [view.measure for view in report.measured]
    lead = leading(report.measured).measure
    seeds = list(dict.fromkeys(finding.trial.get("seed") for finding in report.findings))
    if lead.cost:
        what = "What noise costs, by this machine's clock (lower is cheaper)"
    elif lead.way:
        what = "Retrieval on clean test pairs: Hit@k in % (lower protects) and the median rank MedR (higher protects)"
    else:
        what = f"{lead.short[:1].upper()}{lead.short[1:]} on clean test images in % (lower protects)"
        what = what if not lead.name.startswith("train") else "Accuracy on the training images in %"
    epoch = {LAST: "after the last epoch", BEST_EPOCH: "at the best epoch"}.get(measures[0].epoch, "")
    n = common_n(report)
    spread = f"mean ± sample standard deviation of {n} seeds" if n > 1 else "one seed" if seeds else ""
    bold = "best in bold" if any(cell.leads for row in report.rows for cell in row.cells.values()) else ""
    lines = [
        ", ".join(part for part in (what, epoch) if part) + "; " + ", ".join(p for p in (spread, bold) if p)
    ]
    lines.append(_same_throughout(report))
    if report.printed:
        origins = dict.fromkeys(origin_of(_alike(report, view)) for view in report.measured)
        for origin in (each for each in origins if each):
            figures = [m.figure for m in matches_of(report.measured) if m.figure.origin == origin]
            sets = [
                "/".join(dict.fromkeys(getattr(f, key) for f in figures)) for key in ("dataset", "victim")
            ]
            lines.append(f"printed: {origin} ({', '.join(part for part in sets if part)}), not measured here")
            if any(
                cell.elsewhere for view in report.measured for row in view.rows for cell in row.cells.values()
            ):
                lines[-1] += "; in brackets lowest and highest of other sources, named in the details"
    return lines


def _same_throughout(report: Report) -> str:
    constant = dict(report.layout.constant)
    shown = {report.layout.rows[place] for place in varying(report)}
    noisy = [row for row in report.rows if row.trial.get("control") != "clean"] or list(report.rows)
    for place, dimension in enumerate(report.layout.rows):
        if dimension not in (*shown, "method", "granularity", "variant") and noisy:
            constant[dimension] = noisy[0].key[place]
    if len(report.columns) == 1:
        constant |= dict(zip(report.layout.columns, report.columns[0], strict=True))
    texts = []
    for dimension, value in constant.items():
        if dimension == "defense" and value == "none":
            texts.append("no defense")
        elif dimension not in ("granularity", "method", "variant") and value not in ("", None):
            texts.append(f"{heading(dimension)} {value_in_words(dimension, value)}")
    return ", ".join(texts)


def _explanations(report: Report, sheets: Sequence[Sheet]) -> list[str]:
    """What the columns mean, in their order."""
    notes = []
    costs = any(view.measure.cost for view in report.measured)
    compared = any(f"vs {short_control(report)}" in c.heading for sheet in sheets for c in sheet.values)
    if compared or any("difference to" in sheet.title for sheet in sheets):
        to = "random noise of the same budget"
        if short_control(report) == "control":
            to = f"the clean share alone at the same ratio, and at 100% to {to}"
        interval = ", with its 95 % interval" if common_n(report) > 1 else ""
        notes.append(f"vs {short_control(report)}: difference to {to}, paired by seed{interval}")
    if not costs:
        trained = cost.mean_seconds(report.records, "train", "device_seconds")
        more = f"; training one victim takes another {duration(trained, 1)}" if trained else ""
        notes.append(f"{cost_unit(report)}: to make the noise once, its preparation included{more}")
    return notes


def _other_sources(report: Report) -> list[Line]:
    """The printed numbers of all papers but the main one, a line for each paper and table."""
    if not report.printed:
        return []
    mains = {view.measure.way: origin_of(_alike(report, view)) for view in report.measured}
    found: dict[str, dict[str, dict[str, None]]] = {}
    legend = Legend()
    for view in report.measured:
        for row in view.rows:
            for column, cell in row.cells.items():
                for figure in (match.figure for match in cell.published):
                    if figure.origin != mains[view.measure.way]:
                        parts = [column_name(report, column, legend)] if len(report.columns) > 1 else []
                        parts += [view.measure.short] if report.others else []
                        text = " ".join([*parts, view.measure.text(figure.value)])
                        rows = found.setdefault(figure.origin, {})
                        rows.setdefault(row_name(report, row, legend), {})[text] = None
    return [
        (f"{origin} prints", "; ".join(f"{name} {', '.join(values)}" for name, values in rows.items()))
        for origin, rows in found.items()
    ]


def _alike(report: Report, view: Report) -> list[Report]:
    """The reports on metrics of the same way of retrieval."""
    return [other for other in report.measured if other.measure.way == view.measure.way]


def _words(report: Report, legend: Legend) -> str:
    ways = dict.fromkeys(view.measure.way for view in report.measured)
    views = [leading([view for view in report.measured if view.measure.way == way]) for way in ways]
    places = varying(report)

    def place(row: Row, column: tuple[object, ...]) -> str:
        parts = [column_name(report, column, legend)] if len(report.columns) > 1 else []
        dims = [(report.layout.rows[i], row.key[i]) for i in places]
        parts += [value_in_words(d, value) for d, value in dims if d != "budget"]
        return ", ".join(part for part in parts if part != NOTHING)

    return sentence(report, views, lambda row: row_name(report, row, legend), place)


def _labelled(note: str) -> Line:
    label, _, text = note.partition(": ")
    return label, text


def _brief(report: Report, below: Sequence[Line]) -> str:
    lines = dict(below)
    parts = [lines.get("trials", ""), lines.get("device", ""), wall_cost(report.totals).partition(" (")[0]]
    return "; ".join(part for part in parts if part)
