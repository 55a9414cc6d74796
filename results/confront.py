"""Sets what T2UE prints for CIFAR-10 beside the records of stores: ``python results/confront.py [STORE ...]``.

It writes ``results/confronted.md``, from all stores under results/ unless others are named, in which case the page goes
to the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ue_bench.report import build_report
from ue_bench.report.confronted import confront, page
from ue_bench.report.printed import Figure, load
from ue_bench.trials.store import Store
from ue_bench_results.pages import TOP, stores

PAGE = TOP / "results" / "confronted.md"
IMAGES = 50_000  # in CIFAR-10's training set
CLEAN = "No Protection"  # what T2UE's tables call training on clean data
COMMAND = "python results/confront.py"


def figures() -> list[Figure]:
    """T2UE's accuracies on CIFAR-10: tables 3 and 4, of which the former is a part, 5 and 6."""
    return [f for f in load() if (f.source, f.dataset) == ("t2ue", "cifar10") and f.table in (4, 5, 6)]


def heading(figure: Figure) -> str:
    """The printed table and victim; table 3 is the block of table 4 for ResNet-18."""
    if figure.table != 4:
        return figure.origin
    return (
        "T2UE tables 3 and 4, resnet18" if figure.victim == "resnet18" else f"T2UE table 4, {figure.victim}"
    )


def confronted(kept: Iterable[Store]) -> str:
    """The page from the records of stores."""
    reports = [
        build_report(plan, store.read_records(trial["id"] for trial in plan["trials"]))
        for store in kept
        for plan in store.read_plans()
        if plan.get("paradigm") == "supervised"
    ]
    lines = confront(figures(), reports, IMAGES, CLEAN)
    return page(lines, "T2UE's numbers on CIFAR-10, confronted", COMMAND, heading)


if __name__ == "__main__":
    named = [Store(word) for word in sys.argv[1:]]
    if named:
        print(confronted(named), end="")
    else:
        PAGE.write_text(confronted(stores()), encoding="utf-8")
