"""The outcome of each planned trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ue_bench.measures import lookup, number
from ue_bench.report.layout import Trial


@dataclass(frozen=True)
class Finding:
    """One planned trial and what was measured in it.

    Attributes:
        trial: its entry in the plan.
        record: the record, or None where there is none.
        state: done, failed, invalid, missing, damaged, or ``not measured`` for a record without the table's metric.
        value: the table's metric, or None.
        undertrained: why a finished run does not count because it does not fit its own training data, or "".
    """

    trial: Trial
    record: Mapping[str, Any] | None
    state: str
    value: float | None = None
    undertrained: str = ""

    @property
    def counts(self) -> bool:
        """True if the value belongs in a mean."""
        return self.state == "done" and not self.undertrained


def judge(trial: Trial, record: Mapping[str, Any] | None, metric: str, floors: Mapping[str, Any]) -> Finding:
    """Makes the finding of a trial. A run that does not fit its own training data counts as failed.

    Under defenses that train on mixed labels or attacked images, no floor of the training accuracy applies.
    """
    if record is None:
        return Finding(trial, None, "missing")
    state = str(record.get("status", "done"))
    if state != "done":
        return Finding(trial, record, state, lookup(record, metric) if state == "invalid" else None)
    value = lookup(record, metric)
    if value is None:
        return Finding(trial, record, "not measured")
    return Finding(trial, record, "done", value, _undertrained(trial, record, floors))


def _undertrained(trial: Trial, record: Mapping[str, Any], floors: Mapping[str, Any]) -> str:
    if not trial.get("comparable_training", True):
        return ""  # with mixed labels or attacked images, a low training accuracy does not mean a failed run
    for name, stated in floors.items():
        floor = floor_of(stated, trial)
        reached = lookup(record, name) if name.startswith("train_") else None
        if floor is not None and reached is not None and reached < floor:
            return f"{name.replace('_', ' ')} is {reached:.2f} %, the floor is {floor:g} %"
    return ""


def floor_of(stated: Any, trial: Trial) -> float | None:
    """The floor that applies to a trial, or None.

    A suite states one number, or a mapping by dataset, victim or defense, whose values may be mappings again. The
    trial's dataset is looked up first, then its victim, then its defense (``none`` without one), then ``default``.

    Example: ``{none: 50, jpeg: 40, default: 35}``, or ``{cifar10: {none: 90, default: 70}, default: 30}``, or
    ``{resnet_tiny: 43, vgg_tiny: {jpeg: 50, default: 56}}``.
    """
    if not isinstance(stated, Mapping):
        return number(stated)
    for name in (trial.get("dataset"), trial.get("victim"), trial.get("defense") or "none", "default"):
        floor = floor_of(stated.get(name), trial)
        if floor is not None:
            return floor
    return None
