"""The effect of protecting only a part of the images: the metric against the poison ratio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ue_bench.report.cells import Cell
from ue_bench.report.figures.style import (
    SETTINGS,
    Drawn,
    arm_name,
    arm_of,
    by_place,
    heading,
    looks,
    save,
)
from ue_bench.report.layout import Key
from ue_bench.report.tables import Report

Line = list[tuple[float, float, float]]  # ratio in percent, mean, standard deviation (0 for one seed)


def draw_ratios(report: Report, folder: Path) -> Drawn:
    """Writes ``ratio.png`` and ``ratio.svg``; the clean control is a level line, the clean share alone is dashed."""
    lines = {place: ratio_lines(report, cells) for place, cells in by_place(report).items()}
    lines = {place: found for place, found in lines.items() if any(len(line) > 1 for line in found.values())}
    if not lines:
        ratios = {finding.trial.get("poison_ratio") for finding in report.findings} - {0.0}
        planned = len(ratios) > 1
        problem = "no arm is measured at two ratios yet" if planned else "the poison ratio does not vary"
        return Drawn("ratio", problem=problem)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.5, 0.9 + 4.2 * len(lines)), layout="constrained")
        drawn: dict[Key, Any] = {}
        panels = figure.subplots(len(lines), 1, squeeze=False)[:, 0]
        for axis, (place, found) in zip(panels, lines.items(), strict=True):
            drawn |= _panel(axis, found, report)
            axis.set_title(place)
            axis.set_xlabel("protected share of the training images (%)")
            axis.set_ylabel(report.measure.label)
        names = [arm_name(report, arm) for arm in drawn]
        figure.legend(
            list(drawn.values()), names, loc="outside right center", frameon=False, handlelength=3.2
        )
        figure.suptitle(heading(report))
        return Drawn("ratio", save(figure, folder, "ratio", ("png", "svg"), flat=True))


def ratio_lines(report: Report, cells: Sequence[Cell]) -> dict[Key, Line]:
    """arm -> its mean and spread at each ratio, in order; the clean control has the ratio 0."""
    found: dict[Key, Line] = {}
    for cell in cells:
        if cell.summary:
            ratio = 100 * float(cell.trial.get("poison_ratio") or 0.0)
            point = (ratio, cell.summary.mean, cell.summary.std or 0.0)
            found.setdefault(arm_of(report, cell), []).append(point)
    return {arm: sorted(line) for arm, line in found.items()}


def _panel(axis: Any, lines: dict[Key, Line], report: Report) -> dict[Key, Any]:
    drawn: dict[Key, Any] = {}
    look = looks(report)
    for arm, line in lines.items():
        its = look[arm]
        if len(arm) == 1:  # the clean control
            _, level, band = line[0]
            drawn[arm] = axis.axhline(level, color=its.colour, linewidth=its.width, zorder=2)
            axis.axhspan(level - band, level + band, color=its.colour, alpha=0.12, linewidth=0, zorder=1)
            continue
        x, mean, spread = zip(*line, strict=True)
        style = {"color": its.colour, "linestyle": its.dash, "linewidth": its.width, "zorder": its.order + 2}
        drawn[arm] = axis.plot(x, mean, marker=its.marker, markersize=4.5, **style)[0]
        if any(spread):
            axis.errorbar(x, mean, yerr=spread, fmt="none", ecolor=its.colour, elinewidth=1, capsize=2.5)
    axis.set_ylim(bottom=0)
    return drawn
