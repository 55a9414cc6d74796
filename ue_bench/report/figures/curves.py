"""Accuracy and training loss over the epochs: a figure for each place, a line for each arm, a band for its spread."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ue_bench.measures import number
from ue_bench.report.cells import Cell
from ue_bench.report.figures.bars import tell_apart
from ue_bench.report.figures.style import (
    SETTINGS,
    Drawn,
    Look,
    arm_name,
    arm_of,
    by_place,
    heading,
    looks,
    save,
)
from ue_bench.report.layout import Key
from ue_bench.report.reading import leading
from ue_bench.report.statistics import summarise
from ue_bench.report.tables import Report

LONGEST = 80  # characters of a file's stem
Curve = list[tuple[int, float, float]]  # epoch, mean, standard deviation (0 for one seed)


def draw_curves(report: Report, folder: Path) -> Drawn:
    """Writes a figure for each place: clean test images, training images, training loss, from left to right.

    A quantity that no record of the place holds gets no panel. One place gives ``curves.png`` and ``curves.svg``,
    several ``curves_NAME.png`` and so on, NAME being what tells the place from the others.
    """
    report = leading(report.measured)
    lines = {place: curves_of(report, cells) for place, cells in by_place(report).items()}
    lines = {place: found for place, found in lines.items() if any(found.values())}
    if not lines:
        return Drawn("curves", problem="no finished trial has curves")
    names = _file_names(list(lines))
    paths = [
        _draw(report, place, found, folder, name)
        for name, (place, found) in zip(names, lines.items(), strict=True)
    ]
    return Drawn("curves", tuple(path for pair in paths for path in pair))


def _draw(
    report: Report, place: str, found: Mapping[str, Mapping[Key, Curve]], folder: Path, name: str
) -> tuple[Path, ...]:
    """One place's figure; its legend stands below the panels, its title above them."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        parts = [part for part in _PARTS if found[part]]
        width = 0.6 + 4.2 * len(parts)
        arms = list(dict.fromkeys(arm for part in parts for arm in found[part]))
        labels = [arm_name(report, arm) for arm in arms]
        columns = max(1, int(width / (0.75 + 0.075 * max(map(len, labels)))))
        below = 0.25 + 0.2 * -(-len(labels) // columns)
        title = _title(report, place, letters=int(9 * width))
        above = 0.2 + 0.22 * (title.count("\n") + 1)
        figure = Figure(figsize=(width, 3.4 + above + below), layout="constrained")
        axes = figure.subplots(1, len(parts), squeeze=False)[0]
        drawn: dict[Key, Any] = {}
        for axis, part in zip(axes, parts, strict=True):
            drawn |= _panel(axis, found[part], looks(report), log=part == "loss")
            axis.set_title(_PARTS[part])
            axis.set_xlabel("epoch")
            axis.set_ylabel(_label(report, part, found))
        figure.legend(
            [drawn[arm] for arm in arms], labels, loc="outside lower center", ncols=columns, frameon=False,
            handlelength=3.2,
        )  # fmt: skip
        figure.suptitle(title)
        return save(figure, folder, name, ("png", "svg"), flat=True)


def _file_names(places: Sequence[str]) -> list[str]:
    """A file's stem for each place, in plain letters and unlike the others."""
    if len(places) == 1:
        return ["curves"]
    _, titles = tell_apart(places)
    names: list[str] = []
    for title in titles:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_") or "place"
        name = f"curves_{plain}"[:LONGEST]
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    return names


_PARTS = {
    "test": "clean test images",
    "train": "training images as published",
    "loss": "training images as published",
}


def curves_of(report: Report, cells: Sequence[Cell]) -> dict[str, dict[Key, Curve]]:
    """``test``, ``train`` and ``loss`` -> arm -> mean and spread at each epoch that all of its finished runs reached.

    Where an arm has several poison ratios, the largest counts.
    """
    chosen: dict[Key, Cell] = {}
    for cell in cells:
        arm = arm_of(report, cell)
        if cell.records and (arm not in chosen or _ratio(cell) > _ratio(chosen[arm])):
            chosen[arm] = cell
    found: dict[str, dict[Key, Curve]] = {part: {} for part in _PARTS}
    for part, lines in found.items():
        for arm, cell in chosen.items():
            runs = [run for record in cell.records if (run := _run(record, part, report.measure.name))]
            common = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
            sums = [(epoch, summarise([run[epoch] for run in runs])) for epoch in common]
            if sums:
                lines[arm] = [(epoch, s.mean, s.std or 0.0) for epoch, s in sums if s]
    return found


def _run(record: Mapping[str, Any], part: str, metric: str) -> dict[int, float]:
    """Epoch -> value, for finite values. Retrieval is also measured before the first epoch, as epoch 0."""
    curves = record.get("curves") or {}
    retrieval = (curves.get("retrieval") or {}).get(metric)
    start, values = 1, curves.get("train_loss" if part == "loss" else f"{part}_accuracy")
    if part == "test" and retrieval:
        start, values = 0, retrieval
    found = {epoch: number(value) for epoch, value in enumerate(values or [], start)}
    return {epoch: value for epoch, value in found.items() if value is not None}


def _panel(
    axis: Any, lines: Mapping[Key, Curve], look: Mapping[Key, Look], log: bool = False
) -> dict[Key, Any]:
    drawn = {}
    for arm, curve in lines.items():
        x, mean, spread = zip(*curve, strict=True)
        its = look[arm]
        marker = its.marker if len(x) == 1 else None
        drawn[arm] = axis.plot(
            x,
            mean,
            color=its.colour,
            linestyle=its.dash,
            linewidth=its.width,
            marker=marker,
            zorder=its.order + 2,
        )[0]
        if any(spread):
            low = [m - s for m, s in zip(mean, spread, strict=True)]
            high = [m + s for m, s in zip(mean, spread, strict=True)]
            axis.fill_between(x, low, high, color=its.colour, alpha=0.15, linewidth=0, zorder=its.order)
    axis.xaxis.get_major_locator().set_params(integer=True)
    above = [mean for curve in lines.values() for _, mean, _ in curve if mean > 0]
    if log and above:
        axis.set_yscale("log", nonpositive="clip")  # a band may reach below zero
        axis.yaxis.set_major_formatter(
            lambda value, _: f"{value:g}"
        )  # matplotlib's own formatter writes powers of 10
        near = max(above) < 10 * min(above)
        axis.yaxis.set_minor_formatter((lambda value, _: f"{value:g}") if near else "")
        axis.set_ylim(bottom=min(above) / 1.5)
    else:
        axis.set_ylim(bottom=0)
    return drawn


def _label(report: Report, part: str, found: Mapping[str, Mapping[Key, Curve]]) -> str:
    if part == "loss":
        return "training loss (log scale)"
    retrieval = any(curve[0][0] == 0 for curve in found["test"].values())
    if part == "test" and retrieval:
        return report.measure.label.replace(", last epoch", "")
    return "accuracy (%)"


def _ratio(cell: Cell) -> float:
    return float(cell.trial.get("poison_ratio") or 0.0)


def _title(report: Report, place: str, letters: int) -> str:
    seeds = len({finding.trial.get("seed") for finding in report.findings})
    ratios = {finding.trial.get("poison_ratio") for finding in report.findings} - {0.0}
    notes = [place]
    if seeds > 1:
        notes.append(f"mean of {seeds} seeds, band: ± one standard deviation")
    if len(ratios) > 1:
        notes.append("each arm at its largest protected share")
    return f"{heading(report, letters)}\n{textwrap.fill('; '.join(notes), letters)}"
