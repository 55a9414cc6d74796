"""What an opened row shows: curves, pictures, seeds, printed numbers, reductions, command, versions, records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.dimensions import NOTHING, trial_in_words
from ue_bench.measures import number
from ue_bench.progress import duration
from ue_bench.report import cost
from ue_bench.report.display import spread
from ue_bench.report.footer import footer
from ue_bench.report.footnotes import reductions
from ue_bench.report.printed import Match
from ue_bench.report.reading import leading
from ue_bench.report.tables import Report
from ue_bench.report.verdicts import NOT, PROTECTS, protects, reference
from ue_bench.report.web.charts import entry_curves
from ue_bench.report.web.drawing import Chart
from ue_bench.report.web.entries import Entry

_KEPT = ("command", "recipe", "image size", "device", "versions", "commit", "measured", "warning")
_NOISE = (
    ("linf", "largest change", "{:g}/255"),
    ("l2", "mean L2", "{:.3g}"),
    ("psnr_db", "PSNR", "{:.1f} dB"),
    ("ssim", "SSIM", "{:.3f}"),
    ("positive_share", "values raised", "{:.0%}"),
    ("negative_share", "values lowered", "{:.0%}"),
    ("separable_percent", "linearly separable", "{:.1f} % of held-out images"),
    ("linear_detector_percent", "detected by a linear model", "{:.1f} %"),
    ("two_layer_detector_percent", "detected by a two-layer net", "{:.1f} %"),
)
_AGAINST = {
    "clean": "clean data",
    "random": "random noise of the same budget",
    "share": "the clean share alone",
}


@dataclass(frozen=True)
class Run:
    """One seed: its words, and the address of its record or ""."""

    seed: str
    text: str
    trial: str
    link: str


@dataclass(frozen=True)
class Detail:
    """What stands behind a row."""

    entry: Entry
    title: str
    facts: tuple[tuple[str, str], ...]
    made: tuple[tuple[str, str], ...]
    printed: tuple[tuple[Entry, Match], ...]
    runs: tuple[Run, ...]
    chart: Chart | None
    picture: str
    noisy: bool


def make_details(
    entries: Sequence[Entry], links: Mapping[str, str], pictures: Mapping[str, str]
) -> list[Detail]:
    """What is behind each cell, with all of its metrics.

    Args:
        links: trial id -> address of its record, relative to the page.
        pictures: noise key -> the id of its picture in the page.
    """
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.opens, []).append(entry)
    return [_detail(group, links, pictures) for group in groups.values()]


def _detail(group: Sequence[Entry], links: Mapping[str, str], pictures: Mapping[str, str]) -> Detail:
    entry = next((e for e in group if e.view.measure == leading([e.view for e in group]).measure), group[0])
    keys = [str((record.get("noise") or {}).get("key")) for record in entry.cell.records]
    picture = next((pictures[key] for key in keys if key in pictures), "")
    title = trial_in_words(entry.trial, seed=False)
    results = [fact for each in group for fact in _results(each, len(group) > 1)]
    size = [("training set", entry.size)] if entry.size else []
    facts = [*results, *_verdict(entry), *size, *_noise(entry), *_costs(entry)]
    printed = [(each, match) for each in group for match in each.printed]
    made = [*_parameters(entry), *_footer(entry)]
    return Detail(
        entry,
        title,
        tuple(facts),
        tuple(made),
        tuple(printed),
        _runs(group, links),
        entry_curves(entry),
        picture,
        any(record.get("noise") for record in entry.cell.records),
    )


def _results(entry: Entry, several: bool) -> list[tuple[str, str]]:
    """The result and its differences; in one line where several metrics stand below each other."""
    cell, view = entry.cell, entry.view
    if not cell.summary:
        return [(view.measure.label, cell.state)]
    reached = spread(cell.summary.mean, cell.summary.std, view)
    against = []
    for kind, (control, difference) in cell.differences.items():
        text = f"{difference.mean:+.2f}"
        if difference.interval:
            text += f" [{difference.interval[0]:.2f}, {difference.interval[1]:.2f}]"
        there = view.measure.text(control.summary.mean) if control.summary else NOTHING
        against.append((f"against {_AGAINST.get(kind, kind)}", f"{text} (there: {there})"))
    if several:
        found = reference(cell)
        return [
            (view.measure.label, reached + (f" ({found.mean:+.2f} against its control)" if found else ""))
        ]
    facts = [(view.measure.label, reached)]
    if cell.best:
        epochs = ", ".join(str(epoch) for epoch in cell.epochs)
        facts.append(("at the best epoch", f"{spread(cell.best.mean, cell.best.std, view)} (epoch {epochs})"))
    return facts + against


def _verdict(entry: Entry) -> list[tuple[str, str]]:
    facts = []
    if entry.reason:
        facts.append(("note" if entry.valid else "not to be read", entry.reason))
    if not entry.cell.control and entry.cell.summary:
        words = {PROTECTS: "protects", NOT: "does not protect"}
        facts.append(("verdict", words.get(protects(entry.cell, entry.view.measure), "cannot be judged")))
    facts += [("remark", text) for text in entry.row.remarks]
    if len(entry.suites) > 1:
        facts.append(("suites", ", ".join(entry.suites)))
    return facts


def _noise(entry: Entry) -> list[tuple[str, str]]:
    for record in entry.cell.records:
        noise: Mapping[str, Any] = record.get("noise") or {}
        known = [(words, form.format(value)) for key, words, form in _NOISE
                 if (value := number(noise.get(key))) is not None]  # fmt: skip
        if known:
            return [("noise as published", ", ".join(f"{words} {text}" for words, text in known))]
    return []


def _costs(entry: Entry) -> list[tuple[str, str]]:
    records = entry.cell.records
    parts = [
        f"{phase} {duration(seconds, 1)}"
        for phase in cost.PHASES
        if (seconds := cost.mean_seconds(records, phase, "device_seconds"))
        and (phase in cost.OF_TRIAL or entry.cell.control != "clean")
    ]
    units = {cost.unit(record.get("device")) for record in records}
    what = {frozenset({"core_seconds"}): "core time", frozenset({"accelerator_seconds"}): "GPU time"}
    peak = max((b for record in records if (b := number(record.get("peak_bytes")))), default=None)
    if peak:
        parts.append(f"highest memory {peak / 1e9:.2f} GB")
    return [(what.get(frozenset(units), "device time"), ", ".join(parts))] if parts else []


def _parameters(entry: Entry) -> list[tuple[str, str]]:
    """What it was reduced by, and what else differs from the method's defaults."""
    alone = dataclasses.replace(entry.view, findings=entry.cell.findings)
    found = []
    for note in reductions(alone):
        label, _, text = note.partition(": ")
        found.append((label, text.partition(": ")[2] or text))
    chosen = entry.trial.get("chosen") or {}
    if chosen:
        found.append(
            ("chosen", ", ".join(f"{k} {pair[0]} (default: {pair[1]})" for k, pair in chosen.items()))
        )
    return found


def _footer(entry: Entry) -> list[tuple[str, str]]:
    """What the report's footer says of this cell's records, with the command."""
    plan = {"command": entry.view.plan.get("command")}
    alone: Report = dataclasses.replace(
        entry.view, plan=plan, findings=entry.cell.findings, totals=cost.totals(()), others=()
    )
    return [(label, text) for label, text in footer(alone) if label in _KEPT]


def _runs(group: Sequence[Entry], links: Mapping[str, str]) -> tuple[Run, ...]:
    runs = []
    for place, finding in enumerate(group[0].cell.findings):
        own = [(each.view.measure, each.cell.findings[place]) for each in group]
        texts = [measure.text(one.value) for measure, one in own if one.value is not None]
        identity = str(finding.trial["id"])
        text = ", ".join(texts) or finding.state
        runs.append(Run(str(finding.trial.get("seed")), text, identity, links.get(identity, "")))
    return tuple(runs)
