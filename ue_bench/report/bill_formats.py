"""A bill as text: tables that fit for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ue_bench.canonical import dumps
from ue_bench.dimensions import NOTHING
from ue_bench.errors import unknown
from ue_bench.progress import duration
from ue_bench.report.bill import UNITS, Amount, Bill, Line, check_in_words
from ue_bench.report.display import Text
from ue_bench.report.markdown import pipe_table
from ue_bench.report.page import View
from ue_bench.report.sheets import LIMITS, Column, Legend, Sheet, arrange
from ue_bench.report.terminal import Printer
from ue_bench.text import ascii_json, csv_cell, markdown_text


def as_markdown(bill: Bill, view: View) -> str:
    """Three tables in one, then what is unknown, and the last forecast beside what the work took."""
    sheets, notes = _sheets(bill, view.width, gap=3, edge=4)
    told = "\n".join(f"- {markdown_text(note)}" for note in notes)
    return "\n\n".join([f"### {_title(bill)}", *(pipe_table(sheet) for sheet in sheets), told]) + "\n"


def as_terminal(bill: Bill, view: View) -> str:
    """The same in lines of at most ``view.width`` columns."""
    printer = Printer(view)
    sheets, notes = _sheets(bill, printer.width, gap=3, edge=2)
    printer.say(_title(bill), "bold")
    for sheet in sheets:
        printer.table(sheet)
    for note in notes:
        printer.say(note, "dim", indent=1)
    return printer.text


def as_json(bill: Bill) -> str:
    """The bill in JSON with raw numbers: wall seconds, core-hours, GPU-hours; null where nothing is known."""
    content = dumps(
        {
            "schema": 1,
            "suite": bill.plan.get("suite"),
            "profile": bill.plan.get("profile"),
            "trials": {
                "planned": len(bill.plan["trials"]),
                "done": bill.done,
                "invalid": bill.invalid,
                "failed": bill.failed,
                "to_do": bill.todo,
            },
            "lines": [
                {
                    "by": line.by,
                    "name": line.name,
                    "spent": _sums(line.spent),
                    "predicted": _sums(line.predicted),
                }
                for line in bill.lines
            ],
            "unknown": bill.unknowns,
            "forecast": bill.check and {**vars(bill.check), "off_percent": bill.check.off_percent},
        },
        indent=2,
    )
    return ascii_json(content)


def as_csv(bill: Bill) -> str:
    """The bill in CSV, one row for each of its lines."""
    text = io.StringIO()
    sums = [f"{kind}_{name}" for kind in ("spent", "predicted") for name in _sums(Amount())]
    writer = csv.DictWriter(text, ["suite", "profile", "by", "name", *sums], lineterminator="\n")
    writer.writeheader()
    for line in bill.lines:
        amounts = {"spent": line.spent, "predicted": line.predicted}
        values = {f"{kind}_{name}": _flat(v) for kind, a in amounts.items() for name, v in _sums(a).items()}
        plan = {key: csv_cell(bill.plan.get(key)) for key in ("suite", "profile")}
        writer.writerow({**plan, "by": line.by, "name": csv_cell(line.name), **values})
    return text.getvalue()


FORMATS: dict[str, Callable[[Bill, View], str]] = {
    "markdown": as_markdown,
    "terminal": as_terminal,
    "csv": lambda bill, view: as_csv(bill),
    "json": lambda bill, view: as_json(bill),
}


def render_bill(bill: Bill, format: str = "markdown", view: View | None = None) -> str:
    """The bill as text.

    Args:
        format: one of FORMATS; csv and json have every column.
        view: the width and colour of the others.

    Raises:
        ConfigError: for a format that does not exist.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](bill, view or View())


def _title(bill: Bill) -> str:
    plan = bill.plan
    profile = f" ({plan['profile']})" if plan.get("profile") else ""
    invalid = f", {bill.invalid} invalid" if bill.invalid else ""
    again = f" ({bill.failed} failed before)" if bill.failed else ""
    state = f"{bill.done} done{invalid}, {bill.todo} to do{again}"
    return f"Cost of {plan.get('suite')}{profile}: {len(plan['trials'])} trials, {state}"


def _sheets(bill: Bill, width: int, gap: int, edge: int) -> tuple[list[Sheet], list[str]]:
    """(tables no wider than ``width``, the notes below them). Columns without any amount are left out."""
    units = _units(bill)
    hours = list(units.values())
    headings = ["by", "what", "spent", *hours, "predicted", *(f"{name} predicted" for name in hours)]
    rows = [_row(line, list(units)) for line in bill.lines]
    columns = [
        Column(heading, tuple(Text(cell) for cell in cells))
        for heading, cells in zip(headings, zip(*rows, strict=True), strict=True)
    ]
    values = [c for c in columns[2:] if any(text.body not in ("", NOTHING) for text in c.cells)]
    legend = Legend()
    whole = Sheet("", tuple(columns[:2]), tuple(values))
    sheets = arrange([whole], legend, width, gap, edge, limits=(60, *LIMITS))  # a cell has several names
    return sheets, [*legend.lines, *_notes(bill)]


def _units(bill: Bill) -> dict[str, str]:
    """The units of these costs: both of them only where both kinds of device took part."""
    amounts = [bill.total.spent, bill.total.predicted]
    return {unit: name for unit, name in UNITS.items() if any(amount.device[unit] for amount in amounts)}


def _row(line: Line, units: Sequence[str]) -> list[str]:
    cells = [line.by, "" if line.by == "total" else line.name]
    for amount in (line.spent, line.predicted):
        bound = "≥ " if amount.unknown and amount.pieces else ""
        empty = "unknown" if amount.unknown else NOTHING
        cells.append(f"{bound}{duration(amount.seconds, 1)}" if amount.pieces else empty)
        cells += [f"{bound}{amount.device[u]:.3g}" if amount.pieces else empty for u in units]
    return cells


def _notes(bill: Bill) -> list[str]:
    notes = [
        "Seconds are wall clock. Noise and preparations that trials share count once, with the first of them."
    ]
    if bill.untimed:
        notes.append(f"{bill.untimed} failed trials are not in what was spent: their records hold no times.")
    sources: dict[str, list[str]] = {}
    for line in bill.lines:
        if line.by == "phase":
            for source in line.predicted.sources:
                sources.setdefault(source, []).append(line.name)
    if sources:
        told = "; ".join(f"{source} ({', '.join(phases)})" for source, phases in sources.items())
        notes.append(f"Predicted from {told}")
    if bill.total.predicted.unknown:
        notes.append(f"≥: a lower bound, because a part is unknown: {_grouped(bill.unknowns)}")
    if bill.check:
        notes.append(f"The forecast so far: {check_in_words(bill.check)}")
    return notes


def _grouped(unknowns: Iterable[str]) -> str:
    """``train: not tried``, ``evaluate: not tried`` in few words: ``not tried: train, evaluate``."""
    reasons: dict[str, list[str]] = {}
    for unknown_work in unknowns:
        work, _, why = unknown_work.partition(": ")
        reasons.setdefault(why, []).append(work)
    return "; ".join(f"{why}: {_listed(works)}" for why, works in reasons.items())


def _listed(works: Sequence[str]) -> str:
    """``protect of em``, ``protect of tap`` as ``protect of em, tap``."""
    phases: dict[str, list[str]] = {}
    for work in works:
        phase, _, method = work.partition(" of ")
        phases.setdefault(phase, []).append(method)
    return ", ".join(f"{p} of {', '.join(methods)}" if any(methods) else p for p, methods in phases.items())


def _sums(amount: Amount) -> dict[str, Any]:
    known = amount.pieces or not amount.unknown
    return {
        "wall_seconds": amount.seconds if known else None,
        "core_hours": amount.device["core_seconds"] if known else None,
        "gpu_hours": amount.device["accelerator_seconds"] if known else None,
        "complete": not amount.unknown,
        "from": list(amount.sources),
    }


def _flat(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, list) else value
