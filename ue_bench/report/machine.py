"""A report for programs: JSON with every seed's value, and CSV with one line per cell."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

from ue_bench.canonical import dumps
from ue_bench.dimensions import ROLES, SET_UP
from ue_bench.measures import Measure
from ue_bench.report.cells import Cell
from ue_bench.report.footer import footer
from ue_bench.report.footnotes import cause, footnotes
from ue_bench.report.layout import Trial
from ue_bench.report.printed import Match
from ue_bench.report.statistics import Difference
from ue_bench.report.tables import Report, Row, row_costs
from ue_bench.text import ascii_json, csv_cell

_IDENTITY = (
    "method",
    "granularity",
    "budget",
    "dataset",
    "dataset_label",
    "victim",
    "defense",
    "poison_ratio",
)


def as_json(report: Report) -> str:
    """Rows with raw values, means, marks and paired differences; the plan's header; total costs."""
    plan = {key: value for key, value in report.plan.items() if key not in ("trials", "forecast", "data")}
    content = dumps(
        {
            "schema": 1,
            "plan": plan,
            "metric": _metric(report.measure),
            "layout": {"rows": report.layout.rows, "columns": report.layout.columns},
            "rows": [_row(report, row) for row in report.rows],
            "other_metrics": [
                {"metric": _metric(view.measure), "rows": [_row(view, row) for row in view.rows]}
                for view in report.others
            ],
            "footnotes": footnotes(report),
            "footer": [{"label": label, "text": text} for label, text in footer(report)],
            "totals": report.totals,
        },
        indent=2,
    )
    return ascii_json(content)


def as_csv(report: Report) -> str:
    """One row for each cell and metric: its dimensions, then raw numbers (percent, dB, seconds, bytes) or nothing."""
    cells = [
        (view, row, cell) for view in report.measured for row in view.rows for cell in row.cells.values()
    ]
    origins = list(dict.fromkeys(m.figure.origin for _, _, cell in cells for m in cell.published))
    lines = [_line(view, row, cell, origins) for view, row, cell in cells]
    names = list(dict.fromkeys(name for line in lines for name in line))
    names = names or [*_IDENTITY, "metric", "mean", "std", "n"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def identity(report: Report, trial: Trial) -> dict[str, Any]:
    """A cell's value in every dimension."""
    named = [name for name in (*report.layout.rows, *report.layout.columns) if name not in _IDENTITY]
    return {
        **{
            name: report.layout.value(trial, name) if name in SET_UP else trial.get(name)
            for name in _IDENTITY
        },
        **{name: report.layout.value(trial, name) for name in named},
    }


def _metric(measure: Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "label": measure.label,
        "lower_protects": measure.lower_protects,
        "decimals": measure.decimals,
        "best": measure.best,
        "best_epoch": measure.best_epoch,
        "published": measure.printed,
        "cost": measure.cost is not None,
    }


def _line(report: Report, row: Row, cell: Cell, origins: list[str]) -> dict[str, Any]:
    summary, best = cell.summary, cell.best
    values: dict[str, Any] = {
        "suite": report.plan.get("suite"),
        "profile": report.plan.get("profile"),
        **identity(report, cell.trial),
        "control": cell.control,
        "metric": report.measure.name,
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "n": summary.n if summary else 0,
        "planned": len(cell.findings),
        "best_mean": best.mean if best else None,
        "best_std": best.std if best else None,
        "best_epochs": " ".join(str(epoch) for epoch in cell.epochs),
        "state": cell.state,
        "marks": " ".join([*cell.marks, "reduced"] if row.reduced else cell.marks),
        "best_protection": cell.leads,
        **row_costs([cell]),
        **{f"published: {o}": _printed(cell, o) for o in origins},
    }
    if origins:
        values["published as"] = "; ".join(_spelled(m) for m in cell.published)
    return values


def _printed(cell: Cell, origin: str) -> str:
    values = [m.figure.value for m in cell.published if m.figure.origin == origin]
    return " ".join(dict.fromkeys(f"{value:g}" for value in values))


def _spelled(match: Match) -> str:
    """A printed number with everything that the paper says about it."""
    figure = match.figure
    names = (figure.method, figure.granularity, figure.dataset, figure.victim, figure.defense)
    return f"{figure.value:g} in {figure.origin}: {', '.join(name for name in names if name)}"


def _row(report: Report, row: Row) -> dict[str, Any]:
    return {
        "keys": dict(zip(report.layout.rows, row.key, strict=True)),
        "control": row.trial.get("control"),
        "marks": row.marks,
        "reduced": {
            name: {
                "used": used,
                "usual": usual,
                "source": (row.trial.get("sources") or {}).get(name, "default"),
            }
            for name, (used, usual) in row.reduced.items()
        },
        "costs": row.costs,
        "cells": [_cell(report, cell) for cell in row.cells.values()],
    }


def _cell(report: Report, cell: Cell) -> dict[str, Any]:
    values = [
        {
            "seed": finding.trial.get("seed"),
            "id": finding.trial["id"],
            "state": finding.state,
            "value": finding.value,
            "counts": finding.counts,
            "cause": cause(finding)
            if finding.undertrained or finding.state in ("failed", "invalid")
            else None,
        }
        for finding in cell.findings
    ]
    return {
        **identity(report, cell.trial),
        "values": values,
        "planned": len(cell.findings),
        "n": cell.summary.n if cell.summary else 0,
        "mean": cell.summary.mean if cell.summary else None,
        "std": cell.summary.std if cell.summary else None,
        "best_epoch": {**dataclasses.asdict(cell.best), "epochs": cell.epochs} if cell.best else None,
        "state": cell.state,
        "marks": cell.marks,
        "best_protection": cell.leads,
        **{f"difference_to_{kind}": _difference(cell.differences.get(kind)) for kind in ROLES},
        "published": [{**dataclasses.asdict(m.figure), "note": m.note} for m in cell.published],
    }


def _difference(found: tuple[Cell, Difference] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    control, difference = found
    reference = {
        name: control.trial.get(name) for name in ("method", "granularity", "budget", "poison_ratio")
    }
    interval = list(difference.interval) if difference.interval else None
    return {
        "mean": difference.mean,
        "std": difference.std,
        "n": difference.n,
        "interval_95": interval,
        "reference": reference,
    }
