"""The notes below a table: what is invalid and why, what failed, what was reduced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ue_bench.dimensions import method_in_words, trial_in_words
from ue_bench.measures import lookup
from ue_bench.report.ablations import beyond
from ue_bench.report.efficiency import break_even
from ue_bench.report.findings import Finding
from ue_bench.report.mixtures import mixtures
from ue_bench.report.statistics import summarise
from ue_bench.report.tables import Report
from ue_bench.report.validity import INVALID, UNCHECKED, place, place_name

REMARK = "§"
FOLLOWS = "as other settings say"  # a default of None
SIGNS = {INVALID: "†", UNCHECKED: "‡"}


def footnotes(report: Report) -> list[str]:
    """Every note of the table, most serious first."""
    return [*troubles(report), *remarks(report), *reductions(report), *scales(report), *sources(report)]


def remarks(report: Report) -> list[str]:
    """What methods say about their noise, each sentence once, with the sign of the rows that it is about."""
    return [f"{REMARK} {text}" for text in dict.fromkeys(text for row in report.rows for text in row.remarks)]


def troubles(report: Report) -> list[str]:
    """What is invalid, unchecked, failed or mixed, and why."""
    plan = report.plan
    damaged = [f"damaged: {name}: {why}" for name, why in (plan.get("damaged") or {}).items()]
    unlike = [f"mixed: {text}" for text in [*(plan.get("notices") or []), *mixtures(report.records)]]
    return [*_verdicts(report), *_per_seed(report.findings), *_repeated_seeds(report), *damaged, *unlike]


def reductions(report: Report) -> list[str]:
    """Parameters below their paper's settings, with both values and who says the other, and others than defaults."""
    return _reduced(report.findings)


def scales(report: Report) -> list[str]:
    """What puts the numbers into proportion: costs that pay off, guessing, and floors that are not stated."""
    notes: list[str] = []
    if any(view.measure.cost for view in report.measured):
        notes += break_even(report.findings, report.layout.variants)
    notes += [*_guesses(report), *beyond(report)]
    floors = report.plan.get("floors") or {}
    if report.findings and not any(floors[name] for name in floors if name.startswith("clean_")):
        notes.append("No floor is stated for the clean victim, so nothing shows that it learns.")
    return notes


def cause(finding: Finding) -> str:
    """Why a trial has no number that counts, in one line."""
    if finding.undertrained:
        reason = "a run that does not fit its own training data is a failed run, not a protected one"
        return f"{finding.undertrained}: {reason}"
    text = _error((finding.record or {}).get("error") or {})
    lines = (
        text or "; ".join((finding.record or {}).get("warnings") or []) or "no cause recorded"
    ).splitlines()
    return lines[0] if len(lines[0]) <= 200 else lines[0][:199] + "…"


def _error(error: Mapping[str, Any]) -> str:
    """``KIND: MESSAGE``; a record's message may start with the kind already."""
    kind, message = (str(error.get(key) or "") for key in ("kind", "message"))
    while kind and message.startswith(f"{kind}: "):
        message = message.removeprefix(f"{kind}: ")
    return ": ".join(dict.fromkeys(text for text in (kind, message) if text))


def _verdicts(report: Report) -> list[str]:
    """One note for each reason, with the places that share it; none for places without any number."""
    shown = {place(cell.trial) for row in report.rows for cell in row.cells.values() if cell.summary}
    groups: dict[tuple[str, str], list[str]] = {}
    for key, verdict in report.verdicts.items():
        if key in shown:
            groups.setdefault(verdict, []).append(place_name(key))
    return [
        f"{SIGNS[mark]} {mark}: {'; '.join(names)}: {why}" for (mark, why), names in sorted(groups.items())
    ]


def _per_seed(findings: Iterable[Finding]) -> list[str]:
    """One note for each cause, with the seeds that share it."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        state = f"{SIGNS[INVALID]} {INVALID}" if finding.undertrained else finding.state
        if finding.undertrained or finding.state in ("failed", INVALID):
            key = (state, trial_in_words(finding.trial, seed=False), cause(finding))
            groups.setdefault(key, []).append(str(finding.trial.get("seed")))
    notes = []
    for (state, name, reason), seeds in groups.items():
        numbers = f"seeds {', '.join(seeds)}" if len(seeds) > 1 else f"seed {seeds[0]}"
        notes.append(f"{state}: {name}, {numbers}: {reason}")
    return notes


def _repeated_seeds(report: Report) -> list[str]:
    notes = []
    for row in report.rows:
        for cell in row.cells.values():
            seeds = Counter(finding.trial.get("seed") for finding in cell.findings)
            repeated = [str(seed) for seed, count in seeds.items() if count > 1]
            if repeated:
                name = f"{trial_in_words(cell.trial, seed=False)}, seed {', '.join(repeated)}"
                notes.append(
                    f"mixed: {name}: several trials of one seed share a cell, so more than seeds differs"
                )
    return notes


def _reduced(findings: Iterable[Finding]) -> list[str]:
    notes: dict[str, None] = {}
    for finding in findings:
        pairs, sources = finding.trial.get("reduced") or {}, finding.trial.get("sources") or {}
        changes = ", ".join(
            f"{name} {ours} ({sources.get(name, 'default')}: {FOLLOWS if theirs is None else theirs})"
            for name, (ours, theirs) in pairs.items()
        )
        if changes:
            notes[f"reduced: {method_in_words(finding.trial)}: {changes}"] = None
    for finding in findings:
        for name, pairs in (finding.trial.get("adjusted") or {}).items():
            changes = ", ".join(f"{key} {ours} (default: {theirs})" for key, (ours, theirs) in pairs.items())
            notes[f"adjusted: {name}: {changes}"] = None
    return list(notes)


def _guesses(report: Report) -> list[str]:
    """What guessing reaches on each dataset: in retrieval in closed form, and measured with untrained victims."""
    records: dict[str, list[Mapping[str, Any]]] = {}
    for finding in report.findings:
        found = records.setdefault(str(report.layout.value(finding.trial, "dataset")), [])
        found += [finding.record] if finding.record is not None else []
    return [
        f"{what}{f', {dataset}' if len(records) > 1 else ''}: {text}"
        for dataset, found in records.items()
        for what, text in _guesses_on(report, found)
    ]


def _guesses_on(report: Report, records: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What guessing reaches on one dataset, as (what, numbers in words)."""
    retrieval = any(view.measure.way for view in report.measured)
    guess: dict[str, float] = {}
    drawn: dict[str, list[float]] = {}
    for record in records:
        guess |= (record.get("notes") or {}).get("random_retrieval") or {}
        if record.get("status") == "done":
            if (value := lookup(record, "untrained_accuracy")) is not None:
                drawn.setdefault("accuracy_last", []).append(value)
            ranked = (record.get("curves") or {}).get("retrieval") if retrieval else None
            for name, values in (ranked or {}).items():
                drawn.setdefault(name, []).extend(values[:1])
    untrained = {name: summary.mean for name in drawn if (summary := summarise(drawn[name]))}
    lines = []
    for what, values in (("guessing, in closed form", guess), ("untrained victims", untrained)):
        texts = [
            f"{view.measure.short} {view.measure.text(values[view.measure.name])}"
            for view in report.measured
            if view.measure.name in values
        ]
        if texts:
            lines.append((what, ", ".join(texts)))
    return lines


def sources(report: Report) -> list[str]:
    """The papers whose printed numbers stand in the table, if they were asked for."""
    if not report.printed:
        return []
    cells = [cell for view in report.measured for row in view.rows for cell in row.cells.values()]
    matches = [match for cell in cells for match in cell.printed]
    if not matches:
        return ["published: the papers print no number for these methods, data and victims"]
    origins = ", ".join(dict.fromkeys(match.figure.origin for match in matches))
    return [
        f"published: as printed in {origins}, not measured here; no part of any mean or of the bold print"
    ]
