"""One cell of a table: the trials that differ only by seed, summed up, marked and compared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ue_bench.dimensions import ROLES
from ue_bench.measures import Measure, lookup
from ue_bench.report import field_numbers, printed, validity
from ue_bench.report.findings import Finding
from ue_bench.report.layout import Key, Layout, Trial
from ue_bench.report.printed import Match
from ue_bench.report.statistics import Difference, Summary, paired, summarise


@dataclass(frozen=True)
class Cell:
    """The trials that differ only by seed, with their mean, marks and comparisons.

    Attributes:
        findings: one for each planned trial.
        summary: mean and spread of the values that count, or of all values if none counts; None without values.
        best: the same at each run's best epoch.
        epochs: those best epochs.
        marks: ``invalid``, ``unchecked``.
        leads: True if no protected method does better in the same place.
        differences: each of ROLES -> (the control's cell, paired difference), if any pair exists.
        printed: the papers' numbers for the same thing, from the tables that the suite names if these print any.
        elsewhere: what sources beyond the papers of our methods print for the same thing.
    """

    findings: tuple[Finding, ...]
    summary: Summary | None = None
    best: Summary | None = None
    epochs: tuple[int, ...] = ()
    marks: tuple[str, ...] = ()
    leads: bool = False
    differences: Mapping[str, tuple[Cell, Difference]] = field(default_factory=dict)
    printed: tuple[Match, ...] = ()
    elsewhere: tuple[Match, ...] = ()

    @property
    def published(self) -> tuple[Match, ...]:
        """What all sources print for the same thing."""
        return (*self.printed, *self.elsewhere)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The parameters of its defense, as its records give them; none without records."""
        found = [(record.get("config") or {}).get("defense") or {} for record in self.records]
        return (found[0].get("parameters") or {}) if found else {}

    @property
    def trial(self) -> Trial:
        """The first of its trials, which represents the others in everything but the seed."""
        return self.findings[0].trial

    @property
    def control(self) -> str | None:
        """One of ROLES, or None."""
        return self.trial.get("control")

    @functools.cached_property
    def records(self) -> list[Mapping[str, Any]]:
        """The records of its finished runs."""
        return [o.record for o in self.findings if o.record is not None and o.state == "done"]

    @property
    def state(self) -> str:
        """``done`` if there is a number to show, else the states of its trials."""
        if self.summary:
            return "done"
        states = [finding.state for finding in self.findings]
        counts = {state: states.count(state) for state in states}
        return states[0] if len(counts) == 1 else ", ".join(f"{n} {state}" for state, n in counts.items())

    def values(self) -> dict[Any, float]:
        """Seed -> value, for the runs that count."""
        return {o.trial.get("seed"): o.value for o in self.findings if o.counts and o.value is not None}


def make_cell(
    findings: tuple[Finding, ...], wanted: Measure, verdicts: Mapping[Key, tuple[str, str]]
) -> Cell:
    """Makes a cell with its mean, best epoch and marks."""
    sound = [o for o in findings if o.counts]
    shown = sound or [o for o in findings if o.state == "done"]
    summary = summarise([o.value for o in shown if o.value is not None])
    if summary is None:
        return Cell(findings)
    best = [value for o in shown if (value := lookup(o.record, wanted.best)) is not None]
    epochs = [int(value) for o in shown if (value := lookup(o.record, wanted.best_epoch)) is not None]
    mark = verdicts.get(validity.place(findings[0].trial), ("",))[0] if sound else validity.INVALID
    return Cell(findings, summary, summarise(best), tuple(epochs), (mark,) if mark else ())


def mark_leaders(cells: dict[Any, Cell], layout: Layout, wanted: Measure) -> dict[Any, Cell]:
    """Marks the best protection in each place; values that print alike count as equal."""
    bests: dict[Key, float] = {}
    values = {
        key: float(wanted.text(cell.summary.mean))
        for key, cell in cells.items()
        if cell.summary and not cell.control and validity.INVALID not in cell.marks
    }
    better = min if wanted.lower_protects else max
    for key, value in values.items():
        contest = layout.contest(cells[key].trial)
        bests[contest] = better(value, bests.get(contest, value))
    leaders = {key for key, value in values.items() if value == bests[layout.contest(cells[key].trial)]}
    return {key: dataclasses.replace(cell, leads=key in leaders) for key, cell in cells.items()}


def compare_all(cells: Mapping[Any, Cell]) -> dict[Any, Cell]:
    """Compares every cell with the controls in its place."""
    controls: dict[Key, list[Cell]] = {}
    for cell in cells.values():
        if cell.control:
            controls.setdefault(validity.place(cell.trial), []).append(cell)
    return {key: compare(cell, controls.get(validity.place(cell.trial), [])) for key, cell in cells.items()}


def compare(cell: Cell, others: Sequence[Cell]) -> Cell:
    """Compares a cell with each control among ``others``, of its place: the nearest one by ratio, then by granularity.

    Random noise is a reference only for noise of the same budget, and the clean share alone only at the same ratio.
    """
    differences = {}
    for kind in ROLES:
        controls = [c for c in others if c.control == kind]
        if kind == "random":
            controls = [c for c in controls if size_of(c.trial) == size_of(cell.trial)]
        if kind == "share":
            controls = [c for c in controls if c.trial["poison_ratio"] == cell.trial.get("poison_ratio")]
        nearest = max(controls, key=lambda c: _likeness(c.trial, cell.trial), default=None)
        difference = paired(cell.values(), nearest.values()) if nearest and cell.control != kind else None
        if nearest and difference:
            differences[kind] = (nearest, difference)
    return dataclasses.replace(cell, differences=differences)


def _likeness(one: Trial, other: Trial) -> tuple[bool, ...]:
    return tuple(one.get(key) == other.get(key) for key in ("poison_ratio", "granularity"))


def size_of(trial: Trial) -> str:
    """The budget without its signs: noise that must be positive has random noise of both signs as its control."""
    return str(trial.get("budget", "")).partition(",")[0]


def add_printed(cells: dict[Any, Cell], plan: Mapping[str, Any], wanted: Measure) -> dict[Any, Cell]:
    """Puts the printed numbers beside each cell."""
    figures = (*printed.load(), *field_numbers.load())
    found = {
        key: printed.find(cell.trial, plan, wanted, figures, cell.settings) for key, cell in cells.items()
    }
    every = [match for matches in found.values() for match in matches]
    shown = printed.shown_tables(every, plan)
    sources = {source for source, _ in shown}

    def add(cell: Cell, matches: Sequence[Match]) -> Cell:
        kept = tuple(m for m in matches if (m.figure.source, m.figure.table) in shown)
        others = tuple(m for m in matches if m.figure.terms and m.figure.source not in sources)
        return dataclasses.replace(cell, printed=kept, elsewhere=others)

    return {key: add(cell, found[key]) for key, cell in cells.items()}
