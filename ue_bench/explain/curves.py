"""The curves of a trial's victim over its epochs, beside the clean control's; drawn from records only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ue_bench.dimensions import method_in_words, trial_in_words
from ue_bench.report.figures.style import BLACK, COLOURS, DASHES, GREY, SETTINGS, Drawn, save
from ue_bench.trials.store import Store

ALIKE = (  # the settings that a trial shares with its control
    "paradigm",
    "image_size",
    "train_fingerprint",
    "test_fingerprint",
    "victim",
    "defense",
    "recipe",
    "seed",
)
WAYS = {"i2t": "image to text", "t2i": "text to image"}


@dataclass(frozen=True)
class Line:
    """A curve: its run, the way of retrieval or "", its (epoch, value) points, and its look."""

    name: str
    way: str
    points: tuple[tuple[int, float], ...]
    colour: str
    dash: Any = "-"


def find_control(store: Store, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The finished clean control with the same data, victim, defense, recipe and seed; None if there is none."""
    entries = [entry for plan in store.read_plans() for entry in plan["trials"]]
    for key in dict.fromkeys(entry["id"] for entry in entries if entry.get("control") == "clean"):
        other = store.read_record(key)
        if other is None or other["status"] == "failed" or key == record["id"]:
            continue
        if all(other["config"][name] == record["config"][name] for name in ALIKE):
            return other
    return None


def draw_curves(record: Mapping[str, Any], control: Mapping[str, Any] | None, folder: Path) -> Drawn:
    """Writes ``curves.png``: the training loss and the metrics on test data, for classifiers on training data too."""
    panels = curves_of(record, control)
    if not panels:
        return Drawn("curves", problem="the record has no curves")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.0 * len(panels), 3.9), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            for line in lines:
                x, y = zip(*line.points, strict=True)
                marker = "o" if len(x) == 1 else None
                axis.plot(x, y, color=line.colour, linestyle=line.dash, marker=marker, linewidth=1.5)
            axis.set_title(title)
            axis.set_xlabel("epoch")
            axis.set_ylim(bottom=0)
            axis.xaxis.get_major_locator().set_params(integer=True)
        handles = _legend([line for lines in panels.values() for line in lines])
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, handlelength=3.2)
        figure.suptitle("\n".join(textwrap.wrap(f"Training of {trial_in_words(record)}", 100)))
        return Drawn("curves", save(figure, folder, "curves", ("png",)))


def curves_of(record: Mapping[str, Any], control: Mapping[str, Any] | None) -> dict[str, list[Line]]:
    """Panel -> its lines, the trial's first. Retrieval is also measured before the first epoch."""
    runs = [(record, method_in_words(record), COLOURS[0])]
    runs += [(control, "clean control", BLACK)] if control else []
    panels: dict[str, list[Line]] = {}

    def add(panel: str, name: str, values: Any, start: int, colour: str, way: str = "") -> None:
        points = [(epoch, float(value)) for epoch, value in enumerate(values or [], start)]
        if points:
            panels.setdefault(panel, []).append(
                Line(name, WAYS.get(way, ""), tuple(points), colour, DASHES[way == "t2i"])
            )

    for run, name, colour in runs:
        curves = run.get("curves") or {}
        found = curves.get("retrieval") or {}
        add("training loss", name, curves.get("train_loss"), 1, colour)
        for panel, metric in (("median rank (MedR)", "medr"), ("Hit@10 (%)", "hit@10")):
            for way in WAYS:
                add(panel, name, found.get(f"{way}_{metric}"), 0, colour, way)
        for panel, key in (
            ("test accuracy (%)", "test_accuracy"),
            ("training accuracy (%)", "train_accuracy"),
        ):
            if key == "test_accuracy" or not found:
                add(panel, name, curves.get(key), 1, colour)
    _add_guessing(record, panels)
    return panels


def _add_guessing(record: Mapping[str, Any], panels: Mapping[str, list[Line]]) -> None:
    """Adds level lines for guessing, if the record holds its values."""
    known = (record.get("notes") or {}).get("random_retrieval") or {}
    for panel, metric in (("median rank (MedR)", "medr"), ("Hit@10 (%)", "hit@10")):
        values = [known[f"{way}_{metric}"] for way in WAYS if f"{way}_{metric}" in known]
        if panel in panels and values:
            last = max(epoch for line in panels[panel] for epoch, _ in line.points)
            level = sum(values) / len(values)
            panels[panel].append(Line("guessing", "", ((0, level), (last, level)), GREY, DASHES[2]))


def _legend(lines: Sequence[Line]) -> list[Any]:
    """A handle for each colour, then one for each way of retrieval."""
    from matplotlib.lines import Line2D

    names = {line.name: (line.colour, "-" if line.way else line.dash) for line in lines}
    ways = {line.way: (GREY, line.dash) for line in lines if line.way}
    return [Line2D([], [], color=c, linestyle=d, label=n) for n, (c, d) in {**names, **ways}.items()]
