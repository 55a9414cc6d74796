"""What the page lists: every cell of every suite once, with the printed numbers of every source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.dimensions import method_in_words
from ue_bench.measures import number
from ue_bench.report import field_numbers, printed
from ue_bench.report.cells import Cell
from ue_bench.report.footnotes import cause
from ue_bench.report.layout import Trial
from ue_bench.report.tables import Report, Row
from ue_bench.report.validity import INVALID, UNCHECKED, place


@dataclass(frozen=True)
class Entry:
    """One cell, in one metric.

    Attributes:
        number: its place in the page, from 0.
        opens: the number of the first entry of the same trials: what opens shows all of their metrics.
        report: the report of the first suite that has it, with all metrics.
        view: the same report on this metric.
        row: the row of the report's table that it stands in.
        cell: its trials, summed up.
        suites: every suite that has this cell.
        printed: the printed numbers of every source for the same thing.
        variant: its parameters in words, where one method takes part with several settings.
        examples: how many images, or pairs, its training set holds; None if no record says so.
    """

    number: int
    opens: int
    report: Report
    view: Report
    row: Row
    cell: Cell
    suites: tuple[str, ...]
    printed: tuple[printed.Match, ...]
    variant: str = ""
    examples: int | None = None

    @property
    def trial(self) -> Trial:
        """The first of its trials."""
        return self.cell.trial

    @property
    def trials(self) -> tuple[str, ...]:
        """The ids of its trials."""
        return tuple(str(finding.trial["id"]) for finding in self.cell.findings)

    @property
    def name(self) -> str:
        """``em (class)``."""
        return method_in_words(self.trial)

    @property
    def size(self) -> str:
        """``5,085 images`` or ``7,500 pairs``, or "" if no record says so."""
        what = "pairs" if self.report.plan.get("paradigm") == "contrastive" else "images"
        return f"{self.examples:,} {what}" if self.examples else ""

    @property
    def valid(self) -> bool:
        """True if it has a number that may be read."""
        return self.cell.summary is not None and INVALID not in self.cell.marks

    @property
    def reason(self) -> str:
        """Why its number may not be read or is not there, or ""."""
        for finding in self.cell.findings:
            if finding.undertrained or finding.state in ("failed", INVALID, "damaged"):
                return cause(finding)
        mark, why = self.view.verdicts.get(place(self.trial), ("", ""))
        return why if mark in (INVALID, UNCHECKED) else ""


def collect(reports: Iterable[Report]) -> list[Entry]:
    """Every cell in every metric that is no cost, suite by suite, controls first; a shared one is listed once."""
    reports = list(reports)
    sizes = sizes_of(reports)
    found: dict[Any, Entry] = {}
    figures = (*printed.load(), *field_numbers.load())
    methods: dict[str, dict[str, None]] = {}
    for figure in figures:
        methods.setdefault(printed.same_name(figure.method), {})[figure.method] = None
    orders: dict[Any, tuple[int, bool]] = {}
    for turn, report in enumerate(reports):
        suite = str(report.plan.get("suite") or "")
        variants = report.layout.variants
        for view in report.measured:
            if view.measure.cost:
                continue
            for row in view.rows:
                for cell in row.cells.values():
                    key = view.measure.name, *(finding.trial["id"] for finding in cell.findings)
                    if key in found:
                        suites = tuple(dict.fromkeys([*found[key].suites, suite]))
                        found[key] = dataclasses.replace(found[key], suites=suites)
                        continue
                    orders[key] = turn, cell.control is None
                    matches = _printed(cell, view, figures, methods)
                    text = variants.get(cell.trial["id"], "")
                    size = sizes.get(training_set(cell))
                    found[key] = Entry(0, 0, report, view, row, cell, (suite,), matches, text, size)
    ordered = [found[key] for key in sorted(found, key=lambda key: orders[key])]
    firsts: dict[tuple[str, ...], int] = {}
    return [
        dataclasses.replace(entry, number=number, opens=firsts.setdefault(entry.trials, number))
        for number, entry in enumerate(ordered)
    ]


def training_set(cell: Cell) -> str:
    """A name that differs for different training sets: its fingerprint, or its label in records without one."""
    configs = [record.get("config") or {} for record in cell.records]
    label = cell.trial.get("dataset_label") or cell.trial.get("dataset")
    return next((str(c["train_fingerprint"]) for c in configs if "train_fingerprint" in c), str(label))


def sizes_of(reports: Iterable[Report]) -> dict[str, int]:
    """Training set -> how many examples it holds: every record of noise says so."""
    found = {}
    for report in reports:
        for cell in (cell for row in report.rows for cell in row.cells.values()):
            for record in cell.records:
                count = number((record.get("noise") or {}).get("examples"))
                if count:
                    found[training_set(cell)] = int(count)
    return found


def _printed(
    cell: Cell, view: Report, figures: Sequence[printed.Figure], methods: Mapping[str, Iterable[str]]
) -> tuple[printed.Match, ...]:
    """What every source prints for a cell, also under the method's own name where it says no other.

    Args:
        methods: a method's name in one spelling -> the spellings of ``figures``.
    """
    own = printed.same_name(str(cell.trial.get("method")))
    names = [*(cell.trial.get("published_names") or methods.get(own, ()))]
    asked = {**cell.trial, "published_names": names}
    matches = printed.find(asked, view.plan, view.measure, figures, cell.settings)
    return tuple({(m.figure.origin, m.figure.method, m.figure.value): m for m in matches}.values())
