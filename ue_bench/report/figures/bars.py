"""What victims reach: a panel for each dataset, victim and defense, a bar for each arm, and its spread over seeds."""

from __future__ import annotations

import textwrap
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
from ue_bench.report.reading import leading
from ue_bench.report.tables import Report

ACROSS = 4  # panels side by side
NAME_WIDTH = 30  # characters of an arm's name in a line


def draw_bars(report: Report, folder: Path) -> Drawn:
    """Writes ``bars.png`` and ``bars.svg`` from records alone; ``draw_ratios`` draws suites with several ratios.

    Retrieval gets a panel for each direction, with Hit@10 where it is measured.
    """
    views = _views(report)
    panels = {
        (name, view.measure.label): (view, found)
        for view in views
        for name, cells in by_place(view).items()
        if (found := bars_of(view, cells))
    }
    if not panels:
        return Drawn("bars", problem="no arm is measured at one ratio only")
    import matplotlib
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(arm for _, found in panels.values() for arm in found))
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    shared, titles = tell_apart([name for name, _ in panels])
    names = [arm_name(report, arm) for arm in arms]
    line = 0.26 if max(map(len, names)) <= NAME_WIDTH else 0.36
    width = 0.5 + 0.08 * min(NAME_WIDTH, max(map(len, names))) + 2.9 * across
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        size = (width, 1.2 + down * (0.6 + line * len(arms)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
        for axis, title, (view, found) in zip(axes, titles, panels.values(), strict=False):
            draw_panel(axis, view, arms, found)
            axis.set_title("\n".join(textwrap.wrap(title, 34)), fontsize=9)
            if len(views) > 1:
                axis.set_xlabel(view.measure.label)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        if len(views) == 1:
            figure.supxlabel(report.measure.label, fontsize=9)
        letters = int(9 * width)  # of the title, in a line
        figure.suptitle("\n".join([heading(report, letters), *textwrap.wrap(shared, letters)]))
        return Drawn("bars", save(figure, folder, "bars", ("png", "svg"), flat=True))


def _views(report: Report) -> list[Report]:
    """The report's table of its leading metric, for each direction of retrieval."""
    ways = dict.fromkeys(view.measure.way for view in report.measured)
    return [leading([view for view in report.measured if view.measure.way == way]) for way in ways]


def tell_apart(names: Sequence[str]) -> tuple[str, list[str]]:
    """What all names of places share, and what tells each from the others.

    ``["a, net, jpeg", "a, net, mixup"]`` gives ``("a, net", ["jpeg", "mixup"])``.
    """
    words = [name.split(", ") for name in names]
    shared = [word for word in words[0] if all(word in other for other in words)]
    return ", ".join(shared), [", ".join(word for word in found if word not in shared) for found in words]


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
    names = [textwrap.fill(arm_name(report, arm), NAME_WIDTH) for arm in arms]
    axis.set_yticks(range(len(arms)), names)
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.margins(x=0.15)
