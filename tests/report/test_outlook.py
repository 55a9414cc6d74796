"""A dry run on one screen: counts, reasons, widths."""

from __future__ import annotations

import pytest

from ue_bench.report.outlook import list_trials, tell_plan


def plan(methods: int = 2, victims: int = 2, reasons: int = 1) -> dict:
    trials = [
        {
            "id": f"{m}-{v}", "method": f"method{m}", "granularity": "class", "budget": "Linf 8/255",
            "dataset": "shapes", "victim": f"victim{v}", "defense": "none", "poison_ratio": 1.0, "seed": 0,
        }
        for m in range(methods) for v in range(victims)
    ]  # fmt: skip
    skipped = [{"what": f"x{n} on shapes", "reason": f"reason {n % reasons}"} for n in range(3 * reasons)]
    return {"suite": "s", "profile": "p", "trials": trials, "skipped": skipped}


def test_counts_by_method_victim_and_dataset():
    told = tell_plan(plan(), {"0-0"}, "2 to 3 min (records)", (80, 24)).splitlines()
    assert told == [
        "s (p): 4 trials, 1 to do, 2 to 3 min (records); nothing is done in a dry run",
        "  methods    method0 (class), Linf 8/255: 2; method1 (class), Linf 8/255: 2",
        "  datasets   shapes",
        "  victims    victim0: 2; victim1: 2",
        "  skipped    x0 on shapes, x1 on shapes and 1 more: reason 0",
        "  every trial: --dry-run --all",
    ]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_it_fits_a_screen_however_large_the_suite(columns):
    told = tell_plan(plan(40, 30, 12), (), "", (columns, 24)).splitlines()
    assert len(told) <= 23 and max(map(len, told)) <= min(columns, 120)
    assert any(line.endswith("more") for line in told) and "--all" in told[-1]


def test_all_has_a_line_for_each():
    assert len(list_trials(plan(), (), "").splitlines()) == 1 + 4 + 3
