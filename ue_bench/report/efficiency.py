"""The number of datasets after which work that is done once for all of them has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ue_bench.dimensions import trial_in_words
from ue_bench.measures import lookup
from ue_bench.report.findings import Finding
from ue_bench.report.statistics import summarise


@dataclass(frozen=True)
class Payoff:
    """After how many datasets a preparation that is made once for all of them has paid for itself.

    Attributes:
        name: the method that prepares once, with its granularity, data and setting.
        once: hours of its preparation.
        each: hours that a dataset then takes.
        other: the costlier method.
        rival: hours that it takes for each dataset.
        datasets: the first number of datasets at which the first is no dearer.
    """

    name: str
    once: float
    each: float
    other: str
    rival: float
    datasets: int


def break_even(findings: Sequence[Finding], variants: Mapping[str, str] | None = None) -> list[str]:
    """The payoffs as sentences."""
    notes = []
    for found in payoffs(findings, variants):
        datasets = "1 dataset" if found.datasets == 1 else f"{found.datasets} datasets"
        notes.append(
            f"{found.name} has paid for its preparation ({found.once:.3g} h once, {found.each:.3g} h a dataset) "
            f"against {found.other} ({found.rival:.3g} h a dataset) after {datasets} of this size"
        )
    return notes


def payoffs(findings: Sequence[Finding], variants: Mapping[str, str] | None = None) -> list[Payoff]:
    """Compares each method that prepares once for any number of datasets with each costlier one.

    For a method that prepares for each dataset anew (a surrogate trained on that data), the preparation counts as
    part of the noise. Example: 10 hours once and 1 hour a dataset equal 3 hours a dataset after 5 datasets.

    Args:
        findings: of all trials of the table.
        variants: trial id -> its parameters in words, where one method takes part with several settings.
    """
    arms: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.record and finding.record.get("noise") and not finding.trial.get("control"):
            name = trial_in_words(
                {key: finding.trial.get(key) for key in ("method", "granularity", "dataset")}, seed=False
            )
            variant = (variants or {}).get(finding.trial["id"])
            arms.setdefault(f"{name} ({variant})" if variant else name, []).append(finding)
    costs = {name: _costs(found) for name, found in arms.items()}
    once = {name for name, found in arms.items() if found[0].trial.get("prepares_once")}
    found = []
    for name in sorted(once):
        before, each = costs[name]
        for other, (prepare, protect) in costs.items():
            rival = protect + (0.0 if other in once else prepare)
            if other != name and rival > each and before > 0:
                count = math.ceil(before / (rival - each))
                found.append(Payoff(name, before, each, other, rival, count))
    return found


def _costs(findings: Sequence[Finding]) -> tuple[float, float]:
    """(hours of preparation, hours of protecting), means over trials."""
    means = []
    for name in ("prepare_hours", "protect_hours"):
        values = [value for o in findings if (value := lookup(o.record, name)) is not None]
        summary = summarise(values)
        means.append(summary.mean if summary else 0.0)
    return means[0], means[1]
