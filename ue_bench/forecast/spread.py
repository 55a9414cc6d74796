"""The range of a forecast: by its sources, by the errors of earlier forecasts, and by the machine's load."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ue_bench.report.cost import check_forecast

# Seen in 7 runs of 5 suites (5 second runs of a store, 2 first runs after a dry run; smoke sizes, 2 cores with 6 to 10
# threads waiting). What was predicted took 0.79 and 1.19 times as long by records, 1.5 and 2.0 times by calibration
# (4 runs, by their records' phases). Outside these phases (imports, reading data, writing) 6 to 15 s passed for each
# unit of slowdown. All 7 lay in their ranges by the factors 1.25 and 2 too, thanks to the slowdown alone. The factors
# below hold what was seen with some room; that of scaled records is not measured, nor is a quiet machine.
USUAL = {"records": 1.5, "scaled records": 2.0, "calibration": 2.5}
START_SECONDS = 15.0  # seconds outside the predicted phases, at most, without slowdown
PLANS = 10  # the number of newest plans that are considered
# An earlier forecast that was off by a larger factor, as after an accident, counts as off by this one.
FARTHEST = 10.0
BUSY = 1.5  # the smallest slowdown that is mentioned


@dataclass(frozen=True)
class Spread:
    """What widens a forecast.

    Attributes:
        least: the smallest ratio of taken to predicted time in earlier work, at most 1.
        most: the largest such ratio, at least 1.
        slowdown: the factor by which other work on this machine may slow a run down, at least 1.
    """

    least: float = 1.0
    most: float = 1.0
    slowdown: float = 1.0

    def range(self, seconds: float, source: str) -> tuple[float, float]:
        """(least, most) seconds of work that is predicted to take ``seconds``.

        Example: ``Spread(most=3.0, slowdown=2.0).range(100, "scaled records")`` is (50, 600).
        """
        usual = USUAL.get(source, 2.5)
        return seconds * min(1 / usual, self.least), seconds * max(usual, self.most) * self.slowdown

    def reasons(self) -> list[str]:
        """Why the range is wider than usual, in words."""
        found = []
        if self.most > max(USUAL.values()) or self.least < 1 / max(USUAL.values()):
            low, high = (f"{100 * (factor - 1):+.0f} %" for factor in (self.least, self.most))
            found.append(f"earlier forecasts were off by {low} to {high}")
        if self.slowdown >= BUSY:
            found.append("the machine is busy")
        return found


def look_around(
    plans: Iterable[Mapping[str, Any]], records: Mapping[str, Mapping[str, Any]], threads: int
) -> Spread:
    """The spread, from a store's earlier forecasts and the machine's load.

    Args:
        plans: the headers that the store keeps, oldest first.
        records: the store's records, by trial id.
        threads: number of CPU threads that a run uses; 0 on an accelerator, which other CPU work hardly slows down.
    """
    factors = [1.0]
    for plan in list(plans)[-PLANS:]:
        own = [records[entry["id"]] for entry in plan.get("trials", ()) if entry["id"] in records]
        check = check_forecast(plan, own)
        if check and min(check.predicted[0], check.took[0]) > 0:
            factors.append(min(max(check.took[0] / check.predicted[0], 1 / FARTHEST), FARTHEST))
    return Spread(min(factors), max(factors), slowdown(threads))


def slowdown(threads: int) -> float:
    """The factor by which the machine's present load slows down a run of ``threads`` threads; 1 on a quiet machine."""
    if not threads or not hasattr(os, "getloadavg"):
        return 1.0
    return max(1.0, (os.getloadavg()[0] + threads) / (os.cpu_count() or 1))
