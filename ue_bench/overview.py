"""One picture that shows what a table is about: what people see, the noise, and what victims learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ue_bench.dimensions import ROLES
from ue_bench.gallery import Exhibit, collect, draw_gallery
from ue_bench.report.cells import Cell
from ue_bench.report.figures import draw_bars, draw_curves, draw_ratios
from ue_bench.report.figures.bars import bars_of, draw_panel
from ue_bench.report.figures.style import SETTINGS, Drawn, cells, heading, save
from ue_bench.report.layout import Key
from ue_bench.report.tables import Report
from ue_bench.trials.environment import Environment

PICTURES = 5  # pictures of one method
ROWS = ("what people took", "its noise, amplified", "what they publish")


def draw_all(report: Report, environment: Environment, folder: Path) -> Iterator[Drawn]:
    """Draws every figure of a report; yields the files of each, or why it cannot be drawn."""
    yield draw_overview(report, environment, folder)
    yield draw_bars(report, folder)
    yield draw_curves(report, folder)
    yield draw_ratios(report, folder)
    records = {record["id"]: record for record in report.records}
    yield from draw_gallery(report.plan, records, environment, folder)


def draw_overview(report: Report, environment: Environment, folder: Path) -> Drawn:
    """Writes ``overview.png``: pictures of the method that protects best, and a bar for each arm of the table.

    Only tables of one dataset, victim, defense and ratio have such a picture.
    """
    bars = bars_of(report, list(cells(report)))
    if not bars:
        return Drawn("overview", problem="it needs finished trials of one dataset, victim, defense and ratio")
    records = {record["id"]: record for record in report.records}
    exhibits, _ = collect(report.plan, records, environment, PICTURES)
    shown = best(report, bars, exhibits)
    if shown is None:
        return Drawn("overview", problem="the noise of no method is in the store")
    return Drawn("overview", save(_figure(report, bars, shown), folder, "overview", ("png",)))


def best(report: Report, bars: Mapping[Key, Cell], exhibits: list[Exhibit]) -> Exhibit | None:
    """The noise that protects best, among methods that are no control and whose noise can be shown."""
    controls = {cell.trial["method"] for cell in bars.values() if cell.control in ROLES}
    order = sorted(
        (cell for cell in bars.values() if not cell.control and cell.trial["method"] not in controls),
        key=lambda cell: _mean(cell) if report.measure.lower_protects else -_mean(cell),
    )
    by_trial = {exhibit.entry["id"]: exhibit for exhibit in exhibits}
    for cell in order:
        for finding in cell.findings:
            if finding.trial["id"] in by_trial:
                return by_trial[finding.trial["id"]]
    return None


def _mean(cell: Cell) -> float:
    return cell.summary.mean if cell.summary else float("nan")


def _figure(report: Report, bars: Mapping[Key, Cell], shown: Exhibit) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(11.5, 4.2), layout="constrained")
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.15, 1.0])[0]
        axes = left.subplots(len(ROWS), len(shown.clean), squeeze=False)
        for row, images in enumerate((shown.clean, shown.noise, shown.published)):
            for axis, image in zip(axes[row], images, strict=True):
                axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            axes[row, 0].set_ylabel(ROWS[row], rotation=0, ha="right", va="center", labelpad=8)
        left.suptitle(f"Noise by {shown.label.replace(chr(10), ', ')}", fontsize=10)
        axis = right.subplots()
        draw_panel(axis, report, list(bars), dict(bars))
        axis.set_xlabel(report.measure.label)
        right.suptitle("What a model learns from the published pictures", fontsize=10)
        figure.suptitle(heading(report))
    return figure
