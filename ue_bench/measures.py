"""Every metric of a table, declared once: its words, the direction that protects, its place in a record.

A new metric is one entry of ``_ALL``; trainers, settings, tables, figures and floors read it from there. For example
the number of classes that a victim still tells apart::

    Measure("classes_told", "classes told", unit="classes", of=lambda logits, labels: len(logits.argmax(1).unique()),
            paradigms=("supervised",)),
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WAYS = {"i2t": "image to text", "t2i": "text to image"}
BEST, MEAN5 = "best.", "mean5."  # the same metric at its best epoch, and its mean over the last five
LAST, BEST_EPOCH = "last epoch", "best epoch"
_EPOCHS = {"": LAST, BEST: BEST_EPOCH, MEAN5: "mean of the last 5 epochs"}
_BOTH = ("supervised", "contrastive")


@dataclass(frozen=True)
class Cost:
    """How a measure of costs is computed.

    Attributes:
        phase: the phase of a record's seconds.
        unit: number of seconds, or of what the figure counts, in one unit.
        each: True to divide by the number of noises, or of the images that a figure tells.
        figure: a figure of the phase in a record's ``speed``, which is shown in place of its seconds.
    """

    phase: str
    unit: float = 1.0
    each: bool = False
    figure: str = ""


@dataclass(frozen=True)
class Measure:
    """A metric as tables show it.

    Attributes:
        name: its key in a record's metrics; ``best.NAME`` and ``mean5.NAME`` are kept in mappings ``best``, ``mean5``.
        short: its words without epoch and unit: ``i2t Hit@10``.
        unit: the unit that follows them in brackets: ``%``, ``rank``, ``hours``.
        epoch: ``last epoch`` and so on; "" for costs.
        paradigms: the paradigms whose tables may show it.
        lower_protects: True if a lower value means better protected pictures.
        decimals: number of decimals that are printed.
        best: the key of the same metric at its best epoch, or "".
        best_epoch: the key of that epoch, or "".
        printed: (metric, direction) as in the file of the papers' numbers.
        floor: the name under which a suite states a floor for it, or "".
        cost: how it is computed if it is a cost and not a measure of protection, else None.
        of: how it is measured on clean test data after every epoch; None for what the trainers measure by themselves.
            Supervised: (logits float [N, classes], labels int64 [N]) -> a number. Contrastive: (image features float
            [N, D], text features float [M, D], image of each text int64 [M]) -> a number. On the training device.
    """

    name: str
    short: str
    unit: str = "%"
    epoch: str = LAST
    paradigms: tuple[str, ...] = _BOTH
    lower_protects: bool = True
    decimals: int = 2
    best: str = ""
    best_epoch: str = ""
    printed: tuple[str, str] = ("", "")
    floor: str = ""
    cost: Cost | None = None
    of: Callable[..., float] | None = None

    @property
    def label(self) -> str:
        """The words of a heading: ``accuracy, last epoch (%)``, ``protect (hours)``."""
        return f"{', '.join(part for part in (self.short, self.epoch) if part)} ({self.unit})"

    @property
    def direction(self) -> str:
        """``lower protects``, ``higher protects`` or, of a cost, ``lower is cheaper`` or ``higher is faster``."""
        if self.cost:
            return "lower is cheaper" if self.lower_protects else "higher is faster"
        return "lower protects" if self.lower_protects else "higher protects"

    @property
    def way(self) -> str:
        """``i2t`` or ``t2i`` for retrieval, else ""."""
        return self.printed[1]

    def text(self, value: float) -> str:
        """The value as it is printed: two values are tied where their texts are equal."""
        return f"{value:.{self.decimals}f}"


def _retrieval(way: str, kind: str, part: str) -> Measure:
    rank, name = kind == "medr", f"{way}_{kind}"
    return Measure(
        part + name,
        f"{way} {'MedR' if rank else kind.capitalize()}",
        unit="rank" if rank else "%",
        epoch=_EPOCHS[part],
        paradigms=("contrastive",),
        lower_protects=not rank,
        decimals=1 if rank else 2,
        best="" if part else BEST + name,
        best_epoch="best.epoch",
        printed=(kind, way),
        floor="" if part else f"clean_{name}",
    )


_RETRIEVAL = [
    _retrieval(way, kind, part)
    for part in _EPOCHS
    for way in WAYS
    for kind in ("hit@1", "hit@5", "hit@10", "medr")
]
_ALL = (
    Measure(
        "accuracy_last",
        "accuracy",
        paradigms=("supervised",),
        best="accuracy_best",
        best_epoch="accuracy_best_epoch",
        printed=("accuracy", ""),
        floor="clean_accuracy",
    ),
    Measure(
        "accuracy_best", "accuracy", epoch=BEST_EPOCH, paradigms=("supervised",), printed=("accuracy", "")
    ),
    Measure(
        "probe_accuracy", "accuracy with a last layer trained on clean images", paradigms=("supervised",)
    ),
    Measure("train_accuracy_last", "train accuracy", floor="train_accuracy"),
    *_RETRIEVAL,
    Measure("prepare_hours", "prepare", unit="hours", epoch="", decimals=4, cost=Cost("prepare", 3600.0)),
    Measure(
        "protect_hours",
        "protect",
        unit="hours",
        epoch="",
        decimals=4,
        printed=("generation_hours_a100", ""),
        cost=Cost("protect", 3600.0),
    ),
    Measure(
        "protect_ms", "protect", unit="ms a noise", epoch="", decimals=1, cost=Cost("protect", 0.001, True)
    ),
    *(
        Measure(f"{phase}_{figure}", phase, unit=unit, epoch="", lower_protects=lower, decimals=1, cost=cost)
        for figure, unit, lower, one, each in (
            ("images_per_second", "images/s", False, 1.0, False),
            ("flop", "MFLOP an image", True, 1e6, True),
            ("peak_percent", "% of peak", False, 1.0, False),
        )
        for phase in ("prepare", "protect", "train", "evaluate")
        for cost in [Cost(phase, one, each, figure)]
    ),
)
SPEEDS = tuple(one for one in _ALL if one.cost and one.cost.figure)
MEASURES = {one.name: one for one in _ALL}
FLOORS = tuple(one.floor for one in _ALL if one.floor)
HEADLINES = {"supervised": "accuracy_last", "contrastive": "i2t_hit@10"}  # of a table that names no metric


def table_metrics(paradigm: str) -> tuple[str, ...]:
    """The names of the metrics that a table of this paradigm may show."""
    return tuple(one.name for one in _ALL if paradigm in one.paradigms)


def measure_more(paradigm: str, *what: Any) -> dict[str, float]:
    """{name: value} of the metrics that say how they are measured; ``what`` is what ``Measure.of`` takes."""
    return {one.name: float(one.of(*what)) for one in _ALL if one.of and paradigm in one.paradigms}


def headlines(plan: Mapping[str, Any]) -> list[str]:
    """The names of a plan's metrics, the leading one first; accuracy is not a metric of contrastive plans."""
    table = plan.get("table") or {}
    name = table.get("metric") or HEADLINES["supervised"]
    if name == HEADLINES["supervised"]:
        name = HEADLINES.get(str(plan.get("paradigm")), name)
    return [str(each) for each in table.get("metrics") or [name]]


def measure(name: str) -> Measure:
    """The measure of a metric's name, which may lack ``_last``; an undeclared one is a percentage.

    Example: ``measure("i2t_medr").lower_protects`` is False: a median rank grows as retrieval gets worse.
    """
    known = MEASURES.get(name) or MEASURES.get(f"{name}_last")
    return known or Measure(name, name.replace("_", " "))


def lookup(record: Mapping[str, Any] | None, name: str) -> float | None:
    """A metric of a record as a finite number, or None.

    ``NAME`` may also be kept as ``NAME_last``; ``best.NAME`` and ``mean5.NAME`` are NAME in a mapping of that name.
    """
    cost = measure(name).cost
    if cost:
        return _spent(record or {}, cost)
    metrics: Any = (record or {}).get("metrics") or {}
    found = metrics.get(name, metrics.get(f"{name}_last"))
    if found is None and "." in name:
        outer, inner = name.split(".", 1)
        nested = metrics.get(outer)
        found = nested.get(inner) if isinstance(nested, Mapping) else None
    return number(found)


def _spent(record: Mapping[str, Any], cost: Cost) -> float | None:
    """The cost of a record's noise by wall clock, in the unit of ``cost``; None without noise or on a shared device.

    A figure of a phase's speed may also belong to a victim.
    """
    if cost.figure:
        figures = (record.get("speed") or {}).get(cost.phase) or {}
        found, count = number(figures.get(cost.figure)), number(figures.get("images")) if cost.each else 1.0
        return found / cost.unit / count if found is not None and count else None
    noise, spent = record.get("noise"), number((record.get("seconds") or {}).get(cost.phase))
    if not noise or spent is None or cost.phase in (record.get("shared") or {}):
        return None
    count = number(noise.get("examples", noise.get("changed_images"))) if cost.each else 1.0
    return spent / cost.unit / count if count else None


def number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return None
    return float(value) if math.isfinite(value) else None
