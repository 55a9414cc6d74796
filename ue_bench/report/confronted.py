"""Printed figures, each beside what was measured for the same thing, with a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ue_bench.measures import measure
from ue_bench.report.cells import Cell
from ue_bench.report.printed import Figure, find, same_name
from ue_bench.report.tables import Report
from ue_bench.report.validity import INVALID
from ue_bench.report.verdicts import QUARTER
from ue_bench.report.web.entries import sizes_of, training_set

CLOSE = 3.0  # points within which numbers agree
AGREES, SAME, CONTRADICTS = "agrees within 3 points", "same order", "contradicts"
INCOMPARABLE, NOT_RUN = "not comparable", "not run"
ACCURACY = measure("accuracy_last")


@dataclass(frozen=True)
class Measured:
    """A cell that stands beside a printed figure.

    Attributes:
        report: the table that the cell is from.
        size: number of training images, or None if no record says it.
        reduced: whether its method ran with less than its paper's settings.
    """

    report: Report
    cell: Cell
    size: int | None
    reduced: bool

    @property
    def mean(self) -> float:
        """In percent."""
        return self.cell.summary.mean if self.cell.summary else float("nan")

    @property
    def words(self) -> str:
        """How large the experiment is: ``5,085 images, resnet_tiny, 16 epochs, no crops, n=3``."""
        trial, summary = self.cell.trial, self.cell.summary
        recipes = [(record.get("config") or {}).get("recipe") or {} for record in self.cell.records]
        recipe = recipes[0] if recipes else {}
        parts = [f"{self.size:,} images" if self.size else "images not counted", str(trial.get("victim"))]
        if "epochs" in recipe:
            parts += [f"{recipe['epochs']} epochs", "crops" if recipe.get("crop_padding") else "no crops"]
        return ", ".join([*parts, f"n={summary.n}" if summary else ""])


@dataclass(frozen=True)
class Line:
    """A printed figure, what was measured (None if nothing was), and the verdict with its reason."""

    figure: Figure
    measured: Measured | None
    verdict: str
    reason: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus theirs in points, or None."""
        return None if self.measured is None else self.measured.mean - self.figure.value


def confront(figures: Sequence[Figure], reports: Iterable[Report], full: int, clean: str) -> list[Line]:
    """One line for each figure, in their order.

    Args:
        figures: of accuracies; among them those of clean data, by which protection is told from harm.
        reports: the tables to look in, of any suite.
        full: number of training images of the whole data set. Less can neither agree nor contradict.
        clean: what the printed tables call training on clean data.
    """
    reports = list(reports)
    sizes = sizes_of(reports)
    clear = [figure for figure in figures if figure.method == clean]
    found: dict[Figure, list[Measured]] = {}
    for report in reports:
        for row in report.rows:
            for cell in row.cells.values():
                if cell.summary is None or report.measure != ACCURACY:
                    continue
                one = Measured(report, cell, sizes.get(training_set(cell)), bool(row.reduced))
                places = {_place(m.figure, cell) for m in find(cell.trial, report.plan, ACCURACY, figures)}
                for figure in figures:
                    if _place(figure, cell) in places:
                        found.setdefault(figure, []).append(one)
    return [_line(figure, found.get(figure, []), clear, full) for figure in figures]


def _place(figure: Figure, cell: Cell) -> Figure:
    """The figure without what makes no difference to the cell: to clean data, granularity and ratio."""
    return replace(figure, granularity="", poison_ratio=None) if cell.control == "clean" else figure


def _line(figure: Figure, measured: Sequence[Measured], clear: Sequence[Figure], full: int) -> Line:
    """The line of a figure with the best of what was measured: comparable, then the most images, then seeds."""
    lines = [Line(figure, one, *_judge(figure, one, clear, full)) for one in measured]

    def order(line: Line) -> tuple[bool, int, int]:
        assert line.measured and line.measured.cell.summary
        return line.verdict != INCOMPARABLE, line.measured.size or 0, line.measured.cell.summary.n

    return max(lines, key=order) if lines else Line(figure, None, NOT_RUN)


def _judge(figure: Figure, one: Measured, clear: Sequence[Figure], full: int) -> tuple[str, str]:
    """(verdict, reason)."""
    reasons = []
    if one.size is None:
        reasons.append("its images are not counted")
    elif one.size < full:
        reasons.append(f"{one.size:,} images of {full:,}")
    if INVALID in one.cell.marks:
        reasons.append("its clean victim does not reach the floor, or it does not fit its training data")
    if reasons:
        return INCOMPARABLE, "; ".join(reasons)
    why = "method reduced" if one.reduced else ""
    own = str(one.cell.trial.get("victim"))
    if same_name(own) != same_name(figure.victim):
        why = ", ".join(part for part in (why, f"{own} for {figure.victim}") if part)
    if abs(one.mean - figure.value) <= CLOSE:
        return AGREES, why
    theirs, ours = _lost_there(figure, clear), _lost_here(one)
    if theirs is None or ours is None:
        return INCOMPARABLE, "no clean number beside it"
    return (SAME if (theirs >= QUARTER) == (ours >= QUARTER) else CONTRADICTS), why


def _lost_there(figure: Figure, clear: Iterable[Figure]) -> float | None:
    """The share that the printed victim loses against the same table's clean one, at any ratio; None without one."""
    clean = [
        f.value
        for f in clear
        if (f.source, f.table, f.victim, f.defense)
        == (figure.source, figure.table, figure.victim, figure.defense)
    ]
    return 1 - figure.value / clean[0] if clean else None


def _lost_here(one: Measured) -> float | None:
    """The share that the victim loses against clean data; None without a clean control."""
    if one.cell.control == "clean":
        return 0.0
    if "clean" not in one.cell.differences or not one.mean:
        return None
    lost = -one.cell.differences["clean"][1].mean
    return lost / (one.mean + lost)


def page(lines: Sequence[Line], title: str, command: str, heading: Callable[[Figure], str]) -> str:
    """A page in markdown: the counts, the rule, and a table of all lines under each heading of a figure."""
    counts = Counter(line.verdict for line in lines)
    order = (AGREES, SAME, CONTRADICTS, INCOMPARABLE, NOT_RUN)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])
    text = [f"# {title}", "", f"Of {len(lines)} printed figures: {told}.", ""]
    if not any(counts[verdict] for verdict in order[:3]):
        text += [
            "No record here is of the whole data set, so nothing on this page speaks for or against a paper, and the "
            "most telling disagreements are not listed.",
            "",
        ]
    text += [RULE, "", f"*Made by `{command}`; a test holds it against the records.*", ""]
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(heading(line.figure), []).append(line)
    for name, group in groups.items():
        text += [f"## {name}", "", *_table(group), ""]
    return "\n".join(text).rstrip("\n") + "\n"


RULE = (
    "Accuracies after the last epoch on clean test images, in percent; the difference is ours minus theirs. *Agrees "
    "within 3 points* and *contradicts* are said only of the whole training set: numbers contradict if one victim lost "
    "at least a quarter of what it reaches on clean data and the other did not, and are of the *same order* "
    "otherwise. A reason behind a verdict is what else differs: a method with less than its paper's settings, "
    "another network. Where several stores have a number, the one of most images and seeds stands here."
)


def _table(lines: Sequence[Line]) -> list[str]:
    head = ("printed for", "printed", "ours", "size", "difference", "verdict")
    rows = [_cells(line) for line in lines]
    return [
        f"| {' | '.join(cells)} |" for cells in (head, ("---", "---:", "---:", "---", "---:", "---"), *rows)
    ]


def _cells(line: Line) -> tuple[str, ...]:
    figure, measured, difference = line.figure, line.measured, line.difference
    verdict = f"{line.verdict}: {line.reason}" if line.reason else line.verdict
    if measured is None or difference is None:
        return _words(figure), f"{figure.value:.2f}", "–", "–", "–", verdict
    ours = f"{measured.mean:.2f}"
    return _words(figure), f"{figure.value:.2f}", ours, measured.words, f"{difference:+.1f}", verdict


def _words(figure: Figure) -> str:
    """``EM (sample)``, with the defense if there is one and the ratio if it is not 100 %."""
    parts = [figure.method + (f" ({figure.granularity})" if figure.granularity else "")]
    parts += [figure.defense] if figure.defense else []
    if figure.poison_ratio not in (None, 1.0):
        parts.append(f"ratio {100 * figure.poison_ratio:g} %")
    return ", ".join(parts)
