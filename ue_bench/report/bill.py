"""The bill of a plan: what it has cost and what the missing trials will cost, by phase, method and cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ue_bench.dimensions import trial_in_words
from ue_bench.progress import duration
from ue_bench.report.cost import PHASES, Check, Record, check_forecast, spent_pieces, unit

Piece = Mapping[str, Any]
UNITS = {"core_seconds": "core-hours", "accelerator_seconds": "GPU-hours"}


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
        """Number of trials that are still to do."""
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


def _work(piece: Piece) -> str:
    return f"{piece['phase']} of {piece['method']}" if piece.get("noise") else str(piece["phase"])
