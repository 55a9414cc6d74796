"""What other papers, leaderboards and readmes print for the field's methods, and the rows that it compares with.

The names that sources use, and what they stand for here, are content: ``field_names.yaml`` beside ``field.csv``.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from ue_bench.report.printed import Figure, Terms

_PLACE = ("paper", "table", "dataset", "method", "victim", "defense")


@functools.cache
def load() -> tuple[Figure, ...]:
    """Every figure that comes with the package."""
    folder = importlib.resources.files("ue_bench_results")
    names = yaml.safe_load((folder / "field_names.yaml").read_text(encoding="utf-8"))
    return parse((folder / "field.csv").read_text(encoding="utf-8").splitlines(), names)


def parse(lines: Iterable[str], names: Mapping[str, Mapping[str, Any]]) -> tuple[Figure, ...]:
    """Figures from the lines of such a CSV file; the row ``METRIC_sd`` is the spread of the same place's METRIC.

    Args:
        lines: of the file, the header first.
        names: ``methods`` and ``defenses``: printed name -> what it compares with here.
    """
    rows = list(csv.DictReader(lines))
    spreads = {(*(row[key] for key in _PLACE), row["metric"]): float(row["value"]) for row in rows}
    return tuple(
        Figure(
            source=row["paper"],
            table=row["table"],
            paradigm="supervised",
            **{key: row[key] for key in ("dataset", "method", "victim", "defense", "metric")},
            granularity="",
            poison_ratio=1.0,
            direction="",
            value=float(row["value"]),
            sd=spreads.get((*(row[key] for key in _PLACE), f"{row['metric']}_sd")),
            terms=_terms(row, names),
        )
        for row in rows
        if not row["metric"].endswith("_sd")
    )


def _terms(row: Mapping[str, str], names: Mapping[str, Mapping[str, Any]]) -> Terms:
    """A figure whose method or defense has no meaning here compares with nothing."""
    method, defense = names["methods"].get(row["method"]), names["defenses"].get(row["defense"])
    if method is None or defense is None:
        return Terms()
    ((name, settings),) = defense.items()
    return Terms(
        known=True,
        method=method.get("method", ""),
        granularity=method.get("granularity", ""),
        budget=method.get("budget", ""),
        defense=name,
        settings=tuple(settings.items()),
        own=method.get("paper") == row["paper"],
    )
