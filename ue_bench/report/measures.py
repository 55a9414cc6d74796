"""What a metric is called, which way protection pushes it, and where a record keeps it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """A metric as tables show it.

    Attributes:
        name: its key in a record's metrics; ``best.NAME`` is the same metric at the best epoch, ``mean5.NAME`` its mean
            over the last five.
        label: the words of a table's heading, unit included.
        lower_protects: True where a lower value means better protected pictures.
        decimals: how many are printed.
        best: the key of the same metric at its best epoch, or "".
        best_epoch: the key of that epoch, or "".
        published: (metric, direction) as the file of published numbers spells them.
        cost: True for what noise costs, which is no protection.
    """

    name: str
    label: str
    lower_protects: bool = True
    decimals: int = 2
    best: str = ""
    best_epoch: str = ""
    published: tuple[str, str] = ("", "")
    cost: bool = False

    @property
    def direction(self) -> str:
        """``lower protects``, ``higher protects`` or, of a cost, ``lower is cheaper``."""
        if self.cost:
            return "lower is cheaper"
        return "lower protects" if self.lower_protects else "higher protects"

    @property
    def short(self) -> str:
        """The label without its epoch and unit, for tables with several metrics: ``i2t Hit@10``."""
        return self.label.partition(",")[0]  # a cost has no epoch and keeps its unit

    def text(self, value: float) -> str:
        """The value as it is printed: two values are tied where their texts are equal."""
        return f"{value:.{self.decimals}f}"


# What noise costs: name -> (label, phase, seconds in a unit, per noise, as the file of published numbers spells it).
_COSTS = {
    "prepare_hours": ("prepare (hours)", "prepare", 3600.0, False, ""),
    "protect_hours": ("protect (hours)", "protect", 3600.0, False, "generation_hours_a100"),
    "protect_ms": ("protect (ms a noise)", "protect", 0.001, True, ""),
}

# What a table shows whose plan names no metric.
_HEADLINES = {"contrastive": "i2t_hit@10"}


def headlines(plan: Mapping[str, Any]) -> list[str]:
    """The names of a plan's metrics, the leading one first; accuracy is none of a contrastive plan."""
    table = plan.get("table") or {}
    name = table.get("metric") or "accuracy_last"
    if name == "accuracy_last":
        name = _HEADLINES.get(str(plan.get("paradigm")), name)
    return [str(each) for each in table.get("metrics") or [name]]


def measure(name: str) -> Measure:
    """The measure of a metric's name.

    Example: ``measure("i2t_medr").lower_protects`` is False: a median rank grows as retrieval gets worse.
    """
    if name in _COSTS:
        label, _, _, _, printed = _COSTS[name]
        return Measure(
            name, label, decimals=1 if name.endswith("_ms") else 4, published=(printed, ""), cost=True
        )
    part = name.removeprefix("best.").removeprefix("mean5.")
    epoch = "best epoch" if name.startswith("best.") or part.endswith("_best") else "last epoch"
    epoch = "mean of the last 5 epochs" if name.startswith("mean5.") else epoch
    match = re.fullmatch(r"(?:(i2t|t2i)_)?(hit@\d+|medr)", part)
    if match:
        direction, kind = match.group(1) or "", match.group(2)
        rank = kind == "medr"
        label = f"{direction} {'MedR' if rank else 'Hit' + kind[3:]}, {epoch} ({'rank' if rank else '%'})"
        best = "" if part != name else f"best.{part}"
        return Measure(name, label.strip(), not rank, 1 if rank else 2, best, "best.epoch", (kind, direction))
    base = re.sub(r"_(last|best)$", "", part)
    label = f"{base.replace('_', ' ')}, {epoch} (%)"
    best = f"{base}_best" if part == f"{base}_last" else ""
    return Measure(name, label, best=best, best_epoch=f"{base}_best_epoch", published=(base, ""))


def lookup(record: Mapping[str, Any] | None, name: str) -> float | None:
    """A metric of a record as a finite number, or None.

    ``NAME`` may also be kept as ``NAME_last``; ``best.NAME`` and ``mean5.NAME`` as NAME inside mappings so called.
    """
    if name in _COSTS:
        return _cost(record or {}, name)
    metrics: Any = (record or {}).get("metrics") or {}
    found = metrics.get(name, metrics.get(f"{name}_last"))
    if found is None and "." in name:
        outer, inner = name.split(".", 1)
        nested = metrics.get(outer)
        found = nested.get(inner) if isinstance(nested, Mapping) else None
    return number(found)


def _cost(record: Mapping[str, Any], name: str) -> float | None:
    """Of a record with noise: what the noise took, by this machine's clock."""
    _, phase, unit, each, _ = _COSTS[name]
    noise, spent = record.get("noise"), number((record.get("seconds") or {}).get(phase))
    if not noise or spent is None:
        return None
    count = number(noise.get("examples", noise.get("changed_images"))) if each else 1.0
    return spent / unit / count if count else None


def number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
