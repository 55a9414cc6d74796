"""What victims reach: a panel for each dataset, victim and defense, a bar for each arm, and its spread over seeds."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from ue_bench.report.cells import Cell
from ue_bench.report.figures.style import SETTINGS, Drawn, arm_name, arm_of, by_place, heading, looks, save
from ue_bench.report.layout import Key
from ue_bench.report.tables import Report

ACROSS = 4  # panels side by side


def draw_bars(report: Report, folder: Path) -> Drawn:
    """Writes ``bars.png`` and ``bars.svg`` from records alone; ``draw_ratios`` draws suites with several ratios."""
    panels = {place: found for place, cells in by_place(report).items() if (found := bars_of(report, cells))}
    if not panels:
        return Drawn("bars", problem="no arm is measured at one ratio only")
    import matplotlib
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(arm for found in panels.values() for arm in found))
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        size = (2.2 + 2.6 * across, 1.2 + down * (0.8 + 0.26 * len(arms)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
        for axis, (place, found) in zip(axes, panels.items(), strict=False):
            draw_panel(axis, report, arms, found)
            axis.set_title("\n".join(textwrap.wrap(place, 34)), fontsize=9)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        figure.supxlabel(report.measure.label, fontsize=9)
        figure.suptitle(heading(report))
        return Drawn("bars", save(figure, folder, "bars", ("png", "svg")))


def bars_of(report: Report, cells: list[Cell]) -> dict[Key, Cell]:
    """arm -> its finished cell in one place, in the table's order; empty if an arm has several ratios."""
    found = {arm_of(report, cell): cell for cell in cells if cell.summary}
    return found if len(found) == len([cell for cell in cells if cell.summary]) else {}


def draw_panel(axis: Any, report: Report, arms: list[Key], found: dict[Key, Cell]) -> None:
    """Draws one bar for each arm that was measured there; the other arms keep an empty line."""
    look = looks(report)
    for place, arm in enumerate(arms):
        summary = found[arm].summary if arm in found else None
        if summary is None:
            continue
        axis.barh(place, summary.mean, color=look[arm].colour, height=0.72)
        if summary.std:
            axis.errorbar(summary.mean, place, xerr=summary.std, fmt="none", ecolor="#333333", capsize=2)
        text = f"{summary.mean:.0f}" if summary.mean >= 10 else f"{summary.mean:.1f}"
        axis.annotate(
            text,
            (summary.mean + (summary.std or 0.0), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.set_yticks(range(len(arms)), [arm_name(report, arm) for arm in arms])
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.margins(x=0.15)
