"""The report: every planned trial in its cell, with means over seeds, marks, costs and differences."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.measures import SPEEDS, Measure, headlines, lookup, measure, number
from ue_bench.report import cost, validity
from ue_bench.report.cells import Cell, add_printed, compare_all, make_cell, mark_leaders
from ue_bench.report.findings import Finding, judge
from ue_bench.report.layout import Key, Layout, Trial, make_layout
from ue_bench.report.statistics import summarise

OF_NOISE = ("psnr_db", "separable_percent", "linear_detector_percent", "two_layer_detector_percent")


@dataclass(frozen=True)
class Row:
    """Cells by column, and their costs together (means in seconds and dB; the highest peak in bytes)."""

    key: Key
    cells: Mapping[Key, Cell]
    costs: Mapping[str, float | None]
    reduced: Mapping[str, Sequence[Any]]

    @property
    def trial(self) -> Trial:
        """The first of its trials, which represents the others in what the row shares."""
        return next(iter(self.cells.values())).trial

    @property
    def remarks(self) -> list[str]:
        """What the method says about its noise that readers should know, such as that it has one sign only."""
        records = [record for cell in self.cells.values() for record in cell.records]
        return list(
            dict.fromkeys(
                str(text) for record in records for text in (record.get("notes") or {}).get("remarks") or []
            )
        )

    @property
    def marks(self) -> list[str]:
        """Every mark of the row and of its cells."""
        marks = list(dict.fromkeys(mark for cell in self.cells.values() for mark in cell.marks))
        if self.reduced:
            marks.append("reduced")
        if self.remarks:
            marks.append("remark")
        return marks


@dataclass(frozen=True)
class Report:
    """A suite's table, before any format."""

    plan: Mapping[str, Any]
    measure: Measure
    layout: Layout
    columns: tuple[Key, ...]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    verdicts: Mapping[Key, tuple[str, str]]
    totals: Mapping[str, Any]
    printed: bool = False
    others: tuple[Report, ...] = ()  # the same table for the plan's further metrics

    @property
    def measured(self) -> tuple[Report, ...]:
        """One report for each metric, this one first; their rows and columns are the same."""
        return (self, *self.others)

    @functools.cached_property
    def records(self) -> list[Mapping[str, Any]]:
        """The records of the planned trials, in planned order."""
        return [finding.record for finding in self.findings if finding.record is not None]


def build_report(
    plan: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], published: bool = False
) -> Report:
    """Fills the plan's table from the records.

    Args:
        plan: the plan as the store keeps it; ``damaged``, {file: why}, may name records that cannot be read.
        records: id -> record; trials without a record are missing, and records of other plans are ignored.
        published: True to put the papers' printed numbers beside the measured ones.
    """
    first, *further = headlines(plan)
    others = tuple(_build(plan, records, name, published) for name in further)
    return dataclasses.replace(_build(plan, records, first, published), others=others)


def _build(
    plan: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]], metric: str, published: bool
) -> Report:
    wanted = measure(metric)
    layout, floors = make_layout(plan), plan.get("floors") or {}
    trials = plan.get("trials") or []
    damaged = plan.get("damaged") or {}
    findings = tuple(
        Finding(trial, None, "damaged")
        if f"trials/{trial['id']}.json" in damaged
        else judge(trial, records.get(trial["id"]), wanted.name, floors)
        for trial in trials
    )
    verdicts = validity.verdicts(findings, floors)
    groups: dict[tuple[Key, Key], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((layout.row_key(finding.trial), layout.column_key(finding.trial)), []).append(
            finding
        )
    cells = {key: make_cell(tuple(group), wanted, verdicts) for key, group in groups.items()}
    cells = mark_leaders(cells, layout, wanted)
    cells = compare_all(cells)
    if published:
        cells = add_printed(cells, plan, wanted)
    by_row: dict[Key, dict[Key, Cell]] = {}
    for (row, column), cell in cells.items():
        by_row.setdefault(row, {})[column] = cell
    return Report(
        plan=plan,
        measure=wanted,
        layout=layout,
        columns=tuple(dict.fromkeys(column for _, column in cells)),
        rows=tuple(_make_row(key, row) for key, row in by_row.items()),
        findings=findings,
        verdicts=verdicts,
        totals=cost.totals(o.record for o in findings if o.record is not None),
        printed=published,
    )


def row_costs(cells: Iterable[Cell]) -> dict[str, float | None]:
    """Mean seconds by phase over distinct work, mean measures over distinct noise, and the highest peak of memory.

    Mean figures of speed over distinct work are among them where they are known.
    """
    records = [record for cell in cells for record in cell.records]
    noises = {(r.get("noise") or {}).get("key", r.get("id")): r.get("noise") or {} for r in records}
    measured = {}
    for name in OF_NOISE:
        known = [value for noise in noises.values() if (value := number(noise.get(name))) is not None]
        summary = summarise(known)
        measured[name] = summary.mean if summary else None
    told = [record for record in records if record.get("speed")]
    work = {phase: cost.distinct(told, phase) for phase in {one.cost.phase for one in SPEEDS if one.cost}}
    speeds = {}
    for one in SPEEDS:
        found = [lookup(record, one.name) for record in work[one.cost.phase]] if one.cost else []
        if summary := summarise([value for value in found if value is not None]):
            speeds[one.name] = summary.mean
    return {
        **measured,
        **speeds,
        **{
            f"{phase}_seconds": cost.mean_seconds(records, phase) for phase in ("prepare", "protect", "train")
        },
        "peak_bytes": max((b for r in records if (b := number(r.get("peak_bytes")))), default=None),
    }


def _make_row(key: Key, cells: Mapping[Key, Cell]) -> Row:
    trials = [finding.trial for cell in cells.values() for finding in cell.findings]
    reduced = {name: pair for trial in trials for name, pair in (trial.get("reduced") or {}).items()}
    return Row(key, cells, row_costs(cells.values()), reduced)
