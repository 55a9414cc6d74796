"""Whether a cell's clean victim learns: if it does not, any noise looks like protection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ue_bench.dimensions import full_name
from ue_bench.measures import lookup, measure
from ue_bench.report.findings import Finding, floor_of
from ue_bench.report.layout import Key, Trial
from ue_bench.report.statistics import summarise

INVALID, UNCHECKED = "invalid", "unchecked"


def place(trial: Trial) -> Key:
    """A key that is equal for trials with the same clean control, whatever their ratio."""
    return (
        trial.get("dataset"),
        trial.get("dataset_label"),
        full_name(trial, "victim"),
        full_name(trial, "defense"),
    )


def verdicts(findings: Sequence[Finding], floors: Mapping[str, Any]) -> dict[Key, tuple[str, str]]:
    """place -> (mark, reason) for every place whose clean control is below its floor, or absent, or has no floor.

    If no clean floor is stated at all, there are no verdicts: the table says so once.
    """
    found: dict[Key, tuple[str, str]] = {}
    stated = {name: floor for name, floor in floors.items() if name.startswith("clean_")}
    groups: dict[Key, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(place(finding.trial), []).append(finding)
    for key, here in groups.items():
        floors_here = {name: floor_of(floor_for, here[0].trial) for name, floor_for in stated.items()}
        if stated and all(floor is None for floor in floors_here.values()):
            found[key] = UNCHECKED, _unstated(next(iter(stated)))
        for name, floor in floors_here.items():
            verdict = _verdict(here, name.removeprefix("clean_"), floor) if floor is not None else None
            if verdict and found.get(key, ("",))[0] != INVALID:
                found[key] = verdict
    return found


def place_name(key: Key) -> str:
    """The place in words: dataset, victim, defense."""
    dataset, _, victim, defense = key
    return ", ".join([str(dataset), str(victim), "no defense" if defense == "none" else str(defense)])


def _unstated(name: str) -> str:
    return (
        "no floor is stated for the clean victim here, so nothing shows that it learns. Say "
        f"'floors.{name}={{NAME: 50}}', where NAME is the dataset, the victim, the defense or default"
    )


def _verdict(here: Sequence[Finding], metric: str, floor: float) -> tuple[str, str] | None:
    clean = [finding for finding in here if finding.trial.get("control") == "clean"]
    if not clean:
        return UNCHECKED, "the plan has no clean control here, so nothing shows that the victim learns"
    measured = [o for o in clean if o.state == "done" and lookup(o.record, metric) is not None]
    values = [value for o in measured if o.counts and (value := lookup(o.record, metric)) is not None]
    summary = summarise(values)
    if summary is None:
        if measured:
            return (
                INVALID,
                f"the clean victim does not fit its own training data ({measured[0].undertrained})",
            )
        return UNCHECKED, "the clean control is not measured yet, so nothing shows that the victim learns"
    lower_is_worse = measure(metric).lower_protects
    if (summary.mean >= floor) if lower_is_worse else (summary.mean <= floor):
        return None
    unit, bound = ("%", "floor") if lower_is_worse else ("(rank)", "limit")
    return INVALID, (
        f"the clean victim reaches {summary.mean:.2f} {unit}, the {bound} is {floor:g} {unit}: "
        "a victim that does not learn makes any noise look like protection"
    )
