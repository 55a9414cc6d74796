"""The page's charts: curves over epochs, lines over ratios, accuracy against cost, what sources say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.report import cost
from ue_bench.report.bill import UNITS
from ue_bench.report.figures.bars import tell_apart
from ue_bench.report.figures.curves import curves_of
from ue_bench.report.figures.ratios import ratio_lines
from ue_bench.report.figures.style import COLOURS, DASHES, arm_names, by_place, looks
from ue_bench.report.layout import Key
from ue_bench.report.reading import leading
from ue_bench.report.tables import Report
from ue_bench.report.web.boards import Board
from ue_bench.report.web.claims import Claim
from ue_bench.report.web.drawing import Chart, Line, Mark, Scale, band, chart_scales, path, place_texts
from ue_bench.report.web.entries import Entry

LEAST = 1e-4  # hours; cheaper noise is drawn there
SMALL, WIDE = (330, 210), (760, 360)


@dataclass(frozen=True)
class Panels:
    """Charts of one suite that share a legend of (look, name), and what all of their titles would say."""

    title: str
    shared: str
    charts: tuple[Chart, ...]
    legend: tuple[tuple[str, str], ...]


def curve_panels(report: Report) -> Panels | None:
    """Clean test data over the epochs, a chart for each place; None without curves."""
    report = leading(report.measured)
    lines = {place: curves_of(report, cells)["test"] for place, cells in by_place(report).items()}
    return _panels(report, lines, "epoch")


def ratio_panels(report: Report) -> Panels | None:
    """The result against the protected share, a chart for each place; None where the share does not vary."""
    found = {place: dict(ratio_lines(report, cells)) for place, cells in by_place(report).items()}
    found = {place: lines for place, lines in found.items() if any(len(line) > 1 for line in lines.values())}
    for lines in found.values():
        ends = [point[0] for line in lines.values() for point in line]
        for arm, line in lines.items():
            if len(arm) == 1 and line:  # the clean control is a level line
                lines[arm] = [(at, *line[0][1:]) for at in (min(ends), max(ends))]
    return _panels(report, found, "protected share (%)", dots=True)


def _panels(
    report: Report, places: Mapping[str, Mapping[Key, Sequence[Any]]], x_label: str, dots: bool = False
) -> Panels | None:
    places = {place: lines for place, lines in places.items() if lines}
    if not places:
        return None
    classes = _classes(report)
    every = arm_names(report)
    names = {arm: every[arm] for lines in places.values() for arm in lines}
    shared, titles = tell_apart(list(places))
    charts = [
        line_chart(title or shared, [(classes[arm], names[arm], line) for arm, line in lines.items()], x_label,
                   report.measure.unit, dots)
        for title, lines in zip(titles, places.values(), strict=True)
    ]  # fmt: skip
    legend = tuple((classes[arm], name) for arm, name in names.items())
    title = str(report.plan.get("title") or report.plan.get("suite") or "")
    return Panels(title, shared if len(places) > 1 else "", tuple(charts), legend)


def line_chart(
    title: str,
    lines: Sequence[tuple[str, str, Sequence[Any]]],
    x_label: str,
    y_label: str,
    dots: bool = False,
) -> Chart:
    """A chart of (class, name, [(x, mean, deviation)])."""
    points = [point for _, _, line in lines for point in line]
    xs, ys = [p[0] for p in points], [p[1] + p[2] for p in points]
    x, y = chart_scales(xs, ys, SMALL)
    drawn = [
        Line(
            look,
            path([(a, mean) for a, mean, _ in line], x, y),
            name,
            band(line, x, y),
            tuple((x.at(a), y.at(mean)) for a, mean, _ in line) if dots or len(line) == 1 else (),
        )
        for look, name, line in lines
    ]
    return Chart(title, *SMALL, x, y, x_label, y_label, tuple(drawn))


def _classes(report: Report) -> dict[Key, str]:
    """arm -> classes of the style sheet: a colour for a method, dashes for its granularity."""
    found = {}
    for arm, look in looks(report).items():
        colour = f"c{COLOURS.index(look.colour)}" if look.colour in COLOURS else f"c{look.colour.strip('#')}"
        dash = next(n for n, dash in enumerate(DASHES) if dash == look.dash)
        found[arm] = f"{colour} d{dash}"
    return found


def entry_curves(entry: Entry) -> Chart | None:
    """One cell's curves: test data with its band, training data, and the clean control; None without curves."""
    found = curves_of(entry.view, [entry.cell])
    lines = [("ours", "clean test data", line) for line in found["test"].values()]
    lines += [
        ("train", "training data as published", [(epoch, mean, 0.0) for epoch, mean, _ in line])
        for line in found["train"].values()
    ]
    other = entry.cell.differences.get("clean")
    if other:
        clean = curves_of(entry.view, [other[0]])["test"]
        lines += [("reference", "clean test data, trained on clean data", line) for line in clean.values()]
    return line_chart("", lines, "epoch", entry.view.measure.unit) if lines else None


def cost_chart(board: Board) -> Chart | None:
    """The weakest link of each method against what its noise costs; None with fewer than two methods."""
    points = []
    for row in board.rows:
        if row.control or row.worst is None or row.worst.entry.cell.summary is None:
            continue
        records = row.worst.entry.cell.records
        spent = [
            cost.mean_seconds(records, phase, "device_seconds") or 0.0 for phase in ("prepare", "protect")
        ]
        if sum(spent) > 0:
            points.append((max(sum(spent) / 3600, LEAST), row.worst.entry.cell.summary.mean, row))
    if len(points) < 2:
        return None
    width, height = WIDE
    clean = [
        tile.entry.cell.summary.mean
        for row in board.rows
        if row.control == "clean"
        for tile in row.tiles
        if tile and tile.entry.cell.summary
    ]
    x, y = chart_scales([p[0] for p in points], [*(p[1] for p in points), *clean], WIDE, log=True)
    spots = [(x.at(hours), y.at(value), row.full_name) for hours, value, row in points]
    level = max(clean, default=None)
    places = place_texts(spots, width, height - 34, [] if level is None else [y.at(level)])
    marks = [Mark("ours", a, b, text, *where) for (a, b, text), where in zip(spots, places, strict=True)]
    ends = (x.low, x.high)
    lines = (Line("cref", path([(e, level) for e in ends], x, y), "clean data"),) if level is not None else ()
    unit = _unit(point[2].worst.entry for point in points if point[2].worst)
    x_label = f"{unit} for making the noise, preparation included"
    title = f"{board.title}, {board.what}"
    y_label = f"{board.measure.short} ({board.measure.unit})" if board.measure.unit else board.measure.short
    return Chart(title, width, height, x, y, x_label, y_label, lines, tuple(marks))


def _unit(entries: Iterable[Entry]) -> str:
    units = {cost.unit(record.get("device")) for entry in entries for record in entry.cell.records}
    if len(units) > 1:
        return "device-hours"
    return UNITS[units.pop()] if units else "hours"


def strip(claim: Claim) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """(printed, measured) dots of a question on a line of 200 pixels from 0 to 100 %, each with its words."""
    x = Scale(0.0, 100.0, 4, 196)
    said = [(x.at(figure.value), f"{figure.value:g} % in {figure.origin}") for figure in claim.figures]
    ours = [
        (x.at(entry.cell.summary.mean), f"{entry.cell.summary.mean:.1f} % measured here")
        for entry in claim.ours
        if entry.cell.summary
    ]
    return said, ours
