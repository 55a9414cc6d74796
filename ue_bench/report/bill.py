"""The bill of a plan: what it has cost and what the missing trials will cost, by phase, method and cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ue_bench.canonical import dumps
from ue_bench.dimensions import trial_in_words
from ue_bench.errors import unknown
from ue_bench.progress import duration
from ue_bench.report.cost import PHASES, Check, Record, check_forecast, spent_pieces, unit
from ue_bench.text import ascii_json, csv_cell, markdown_text

Piece = Mapping[str, Any]
UNITS = {"core_seconds": "core-hours", "accelerator_seconds": "GPU-hours"}
NOTHING = "–"


@dataclass
class Amount:
    """A sum over pieces of work.

    Attributes:
        seconds: wall clock.
        device: hours by unit: ``core_seconds`` (of CPUs) or ``accelerator_seconds``, never added up.
        pieces: number of pieces with a known cost.
        unknown: number of pieces without one; if there are any, the sums are lower bounds.
        sources: what the costs were predicted from.
    """

    seconds: float = 0.0
    device: dict[str, float] = field(default_factory=lambda: dict.fromkeys(UNITS, 0.0))
    pieces: int = 0
    unknown: int = 0
    sources: dict[str, None] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        """Adds a piece of work."""
        if piece["seconds"] is None:
            self.unknown += 1
            return
        self.pieces += 1
        self.seconds += piece["seconds"]
        self.device[piece["unit"]] += (piece["device_seconds"] or 0.0) / 3600
        if piece.get("source"):
            self.sources[piece["source"]] = None


@dataclass(frozen=True)
class Line:
    """One line of the bill: ``by`` phase, method, cell or total; what was spent and what is predicted."""

    by: str
    name: str
    spent: Amount
    predicted: Amount


@dataclass(frozen=True)
class Bill:
    """A plan's costs, before any format.

    Attributes:
        plan: the plan as the store keeps it.
        done: number of its trials that count.
        invalid: number of trials that finished and do not count; they are not run again.
        failed: number of trials that failed; they will be run again.
        untimed: number of failed trials whose records hold no times.
        lines: one for each phase, method and cell, then the total.
        unknowns: what has no known cost, and why.
        check: the last forecast beside what the work took.
    """

    plan: Mapping[str, Any]
    done: int
    invalid: int
    failed: int
    untimed: int
    lines: tuple[Line, ...]
    unknowns: tuple[str, ...]
    check: Check | None

    @property
    def todo(self) -> int:
        """How many trials are still to do."""
        return len(self.plan["trials"]) - self.done - self.invalid

    @property
    def total(self) -> Line:
        """The last line."""
        return self.lines[-1]


def make_bill(
    plan: Mapping[str, Any],
    records: Mapping[str, Record],
    predicted: Iterable[Piece],
    device: Mapping[str, Any] | None = None,
) -> Bill:
    """Adds up records and predictions.

    Args:
        plan: the plan as the store keeps it.
        records: id -> record; the time of the plan's failed and invalid trials counts as spent too.
        predicted: pieces of work to come: ``phase id method source seconds device_seconds why``.
        device: the device that they will run on, with its ``type``.
    """
    trials = {trial["id"]: trial for trial in plan["trials"]}
    known = [records[key] for key in trials if key in records]
    state = {name: [r for r in known if r.get("status") == name] for name in ("done", "invalid", "failed")}
    order = {key: number for number, key in enumerate(trials)}
    spent = sorted(spent_pieces(known), key=lambda piece: order[piece["id"]])
    coming = [{**piece, "unit": unit(device)} for piece in predicted]

    def cell(piece: Piece) -> str:
        trial = trials[piece["id"]]
        budget = "" if trial.get("control") == "clean" else f", {trial.get('budget')}"
        return trial_in_words(trial, seed=False) + budget

    groups: list[tuple[str, Callable[[Piece], str]]] = [
        ("phase", lambda piece: str(piece["phase"])),
        ("method", lambda piece: str(piece["method"])),
        ("cell", cell),
        ("total", lambda piece: "all"),
    ]
    lines: list[Line] = []
    for by, key in groups:
        names = dict.fromkeys(["all"] if by == "total" else [key(piece) for piece in (*spent, *coming)])
        found = {name: Line(by, name, Amount(), Amount()) for name in names}
        for piece in spent:
            found[key(piece)].spent.add(piece)
        for piece in coming:
            found[key(piece)].predicted.add(piece)
        kept = [line for line in found.values() if by == "total" or _matters(line)]
        lines += sorted(kept, key=_phase_order) if by == "phase" else kept
    whys = {f"{_work(piece)}: {piece['why']}": None for piece in coming if piece["seconds"] is None}
    untimed = sum(not record.get("seconds") for record in state["failed"])
    return Bill(
        plan,
        done=len(state["done"]),
        invalid=len(state["invalid"]),
        failed=len(state["failed"]),
        untimed=untimed,
        lines=tuple(lines),
        unknowns=tuple(whys),
        check=check_forecast(plan, known),
    )


def as_markdown(bill: Bill) -> str:
    """Three tables in one, then what is unknown, and the last forecast beside what the work took."""
    from tabulate import tabulate

    plan, units = bill.plan, _units(bill)
    headings = ["by", "what", "spent", *units.values(), "predicted", *units.values(), "predicted from"]
    rows = [[markdown_text(cell) for cell in _row(line, list(units))] for line in bill.lines]
    align = ["left", "left", *["right"] * (2 + 2 * len(units)), "left"]
    profile = f" ({plan['profile']})" if plan.get("profile") else ""
    invalid = f", {bill.invalid} invalid" if bill.invalid else ""
    again = f" ({bill.failed} failed before)" if bill.failed else ""
    state = f"{bill.done} done{invalid}, {bill.todo} to do{again}"
    parts = [
        f"### Cost of {plan.get('suite')}{profile}: {len(plan['trials'])} trials, {state}",
        tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=align),
        "\n".join(f"- {markdown_text(note)}" for note in _notes(bill)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


FORMATS: dict[str, Callable[[Bill], str]] = {"markdown": as_markdown, "csv": as_csv, "json": as_json}


def render_bill(bill: Bill, format: str = "markdown") -> str:
    """The bill as text.

    Raises:
        ConfigError: for a format that does not exist.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](bill)


def check_in_words(check: Check) -> str:
    """``predicted 12.3 min, took 13.1 min (+6 %)``, the same in core-hours or GPU-hours, and for which work."""
    wall, device = zip(check.predicted, check.took, strict=True)
    text = f"predicted {duration(wall[0], 1)}, took {duration(wall[1], 1)} ({check.off_percent:+.0f} %)"
    if len(check.units) == 1:
        text += f"; {device[0] / 3600:.3g} and {device[1] / 3600:.3g} {UNITS[check.units[0]]}"
    noises = f" and {check.noises} noises" if check.noises else ""
    return f"{text}; {check.trials} trainings{noises}, predicted from {', '.join(check.sources)}"


def _phase_order(line: Line) -> int:
    return PHASES.index(line.name) if line.name in PHASES else len(PHASES)


def _matters(line: Line) -> bool:
    return any(amount.seconds or amount.unknown for amount in (line.spent, line.predicted))


def _units(bill: Bill) -> dict[str, str]:
    """The units of these costs: both of them only where both kinds of device took part."""
    amounts = [bill.total.spent, bill.total.predicted]
    return {unit: name for unit, name in UNITS.items() if any(amount.device[unit] for amount in amounts)}


def _row(line: Line, units: Sequence[str]) -> list[str]:
    cells = ["total" if line.by == "total" else line.by, "" if line.by == "total" else line.name]
    for amount in (line.spent, line.predicted):
        bound = "≥ " if amount.unknown and amount.pieces else ""
        empty = "unknown" if amount.unknown else NOTHING
        cells.append(f"{bound}{duration(amount.seconds, 1)}" if amount.pieces else empty)
        cells += [f"{bound}{amount.device[u]:.3g}" if amount.pieces else empty for u in units]
    sources = list(line.predicted.sources)
    if line.predicted.unknown:
        sources.append("unknown")
    return [*cells, ", ".join(sources)]


def _notes(bill: Bill) -> list[str]:
    notes = [
        "Seconds are wall clock. Noise and preparations that trials share count once, with the first of them."
    ]
    if bill.untimed:
        notes.append(f"{bill.untimed} failed trials are not in what was spent: their records hold no times.")
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


def _work(piece: Piece) -> str:
    return f"{piece['phase']} of {piece['method']}" if piece.get("noise") else str(piece["phase"])


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
