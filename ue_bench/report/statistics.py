"""Means and spread over seeds, and differences between runs of the same seed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """The mean and spread of several values.

    Attributes:
        mean: their mean.
        std: sample standard deviation (n - 1), or None for one value.
        n: number of values.
    """

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A mean difference between paired runs.

    Attributes:
        mean: mean of value minus reference over the pairs.
        std: sample standard deviation of the differences, or None for one pair.
        n: number of pairs.
        interval: 95 % confidence interval of the mean difference (Student's t), or None for one pair.
    """

    mean: float
    std: float | None
    n: int
    interval: tuple[float, float] | None


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean and sample standard deviation, or None without values.

    Example: ``summarise([10, 12, 14])`` is ``Summary(mean=12, std=2, n=3)``.
    """
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Summary(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Summary(mean, math.sqrt(squares / (len(values) - 1)), len(values))


def interval(summary: Summary, level: float = LEVEL) -> tuple[float, float] | None:
    """Student's t interval of a mean, or None for fewer than two values.

    Example: for 1, 2, 3 the mean is 2, t(2 degrees of freedom, 97.5 %) is 4.303, and the half width
    4.303 / sqrt(3) = 2.484.
    """
    if summary.std is None:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(summary.n - 1, (1 + level) / 2)) * summary.std / math.sqrt(summary.n)
    return summary.mean - half, summary.mean + half


def paired(values: Mapping[Hashable, float], reference: Mapping[Hashable, float]) -> Difference | None:
    """The mean of value minus reference over the keys (seeds) that both have, or None if they share none."""
    summary = summarise([values[key] - reference[key] for key in values if key in reference])
    if summary is None:
        return None
    return Difference(summary.mean, summary.std, summary.n, interval(summary))
