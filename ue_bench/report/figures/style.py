"""What figures share: the look of each arm's line, the names of places, and how files are written."""

from __future__ import annotations

import os
import textwrap
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ue_bench.dimensions import ABLATION, DIAGNOSTIC, OF_METHOD, ROLES
from ue_bench.report.cells import Cell
from ue_bench.report.layout import Key
from ue_bench.report.tables import Report
from ue_bench.report.validity import place, place_name
from ue_bench.text import visible

# Nine colours that people who confuse red and green can tell apart (Paul Tol's "muted" scheme).
COLOURS = ("#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#DDCC77", "#44AA99", "#AA4499", "#999933")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
USUAL = ("image", "class", "cluster", "pair")  # the granularities that DASHES stand for, in order
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
BLACK, GREY = "#000000", "#7A7A7A"
SETTINGS: Any = {
    "svg.hashsalt": "ue-bench",  # seeds the ids in an SVG, which would otherwise differ at every run
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "figure.titlesize": 12.0,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 130,
    "text.parse_math": False,  # a class may be called $x_{$
}


@dataclass(frozen=True)
class Drawn:
    """A figure's files, or why there are none."""

    name: str
    paths: tuple[Path, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return visible(f"no {self.name}: {self.problem}")
        return visible(f"wrote {' and '.join(str(path) for path in self.paths)}")


@dataclass(frozen=True)
class Look:
    """The look of an arm's line: colours mean methods, dashes granularities; clean data is black, random noise grey."""

    colour: str
    dash: Any
    marker: str
    width: float
    order: int


def arm_of(report: Report, cell: Cell) -> Key:
    """Equal for cells of one arm: method, granularity, budget, variant."""
    value = report.layout.value
    if cell.control == "clean":
        return (value(cell.trial, "method"),)
    return tuple(value(cell.trial, dimension) for dimension in ("method", *OF_METHOD))


def arm_name(report: Report, arm: Key) -> str:
    """An arm in words, with its budget or variant only where two arms differ in it."""
    return arm_names(report)[arm]


def arm_names(report: Report) -> dict[Key, str]:
    """The name of each arm, see ``arm_name``."""
    alike: dict[Key, list[Key]] = {}
    for arm in arms(report):
        alike.setdefault(arm[:2], []).append(arm)
    names = {}
    for group in alike.values():
        several = [len({arm[place] for arm in group if len(arm) > 1}) > 1 for place in (2, 3)]
        for arm in group:
            if len(arm) == 1:
                names[arm] = str(arm[0])
                continue
            method, granularity, budget, variant = arm
            words = [str(granularity)] if granularity else []
            words += [str(budget)] if several[0] else []
            words += [str(variant)] if variant and several[1] else []
            names[arm] = f"{method} ({', '.join(words)})" if words else str(method)
    return names


def arms(report: Report) -> dict[Key, Cell]:
    """Every arm with one of its cells, in the plan's order."""
    found: dict[Key, Cell] = {}
    for cell in cells(report):
        found.setdefault(arm_of(report, cell), cell)
    return found


def cells(report: Report) -> Iterator[Cell]:
    """Every cell, row by row."""
    for row in report.rows:
        yield from row.cells.values()


def looks(report: Report) -> dict[Key, Look]:
    """The look of each arm's line."""
    found_arms = arms(report)
    played = {arm[0]: cell.control for arm, cell in found_arms.items() if cell.control in ROLES}
    controls = {
        arm: played.get(arm[0]) or (cell.control if cell.control != DIAGNOSTIC else None)
        for arm, cell in found_arms.items()
    }
    methods: dict[str, int] = {}
    taken: dict[str, list[int]] = {}
    found: dict[Key, Look] = {}
    for arm in found_arms:
        method, granularity = arm[0], str(arm[1]) if len(arm) > 1 else ""
        turn = USUAL.index(granularity) if granularity in USUAL else 0
        while turn in taken.setdefault(method, []):
            turn += 1
        taken[method].append(turn)
        if controls[arm]:
            colour = GREY if controls[arm] in ("random", ABLATION) else BLACK
            dash = DASHES[1] if controls[arm] == "share" else DASHES[turn % len(DASHES)]
            found[arm] = Look(colour, dash, ".", 1.8, 1)
            continue
        number = methods.setdefault(method, len(methods))
        dash = DASHES[(turn + 2 * (number // len(COLOURS))) % len(DASHES)]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        found[arm] = Look(colour, dash, marker, 1.5, 2)
    return found


def heading(report: Report, width: int = 80) -> str:
    """The plan's title, wrapped at ``width`` characters."""
    return textwrap.fill(str(report.plan.get("title") or report.plan.get("suite") or ""), width)


def by_place(report: Report) -> dict[str, list[Cell]]:
    """The cells of each place, by its name: dataset, victim and defense."""
    found: dict[str, list[Cell]] = {}
    for cell in cells(report):
        found.setdefault(place_name(place(cell.trial)), []).append(cell)
    return found


def save(figure: Any, folder: Path, name: str, kinds: Iterable[str], flat: bool = False) -> tuple[Path, ...]:
    """Writes a figure as NAME.png and so on, without dates, each file whole or not at all.

    A flat one, without photographs, is a PNG of 128 colours: a third of the bytes.
    """
    import matplotlib
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in kinds:
        path = folder / f"{name}.{kind}"
        unfinished = folder / f".{name}-{uuid.uuid4().hex[:8]}.{kind}"
        try:
            with matplotlib.rc_context(SETTINGS):
                nameless = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
                figure.savefig(unfinished, format=kind, metadata=nameless)
            if flat and kind == "png":
                with Image.open(unfinished) as picture:
                    few = picture.convert("RGB").quantize(128)
                few.save(unfinished, optimize=True)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        paths.append(path)
    return tuple(paths)
