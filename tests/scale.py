"""What a large store and a large suite cost: ``python tests/scale.py records=100000 trials=10000``.

Prints core-seconds, which other work on the machine hardly changes, wall-clock seconds and the peak of memory of each
step, measured in a process of its own. The records are made: a plan of ten methods on ten datasets with ten victims and
ten defenses, each with as many seeds as give that many trials, without content or training behind them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ue_bench.canonical import digest
from ue_bench.words import read_whole, read_words

WORDS = {"records": "100000", "trials": "10000"}
WIDTH = 10  # methods, datasets, victims and defenses


def made_plan(count: int) -> dict[str, Any]:
    """A plan of ``count`` trials as the store keeps it."""
    return {
        "suite": "scale",
        "title": "Many trials",
        "profile": "made",
        "created": "2026-01-01T00:00:00+00:00",
        "command": "ue-bench run suite=scale",
        "paradigm": "supervised",
        "floors": {"clean_accuracy": 50.0},
        "table": {"rows": ["method"], "columns": [], "metric": "accuracy_last"},
        "published": {},
        "seed": 0,
        "skipped": [],
        "trials": [*made_trials(count)],
    }


def made_trials(count: int) -> Iterator[dict[str, Any]]:
    names = [[f"{what}{n}" for n in range(WIDTH)] for what in ("set", "net", "defense", "method")]
    cells = itertools.product(range(count), *names)
    for seed, dataset, victim, defense, method in itertools.islice(cells, count):
        place = int(method[-1])
        role = {0: "clean", 1: "random"}.get(place)
        yield {
            "id": digest([seed, dataset, victim, defense, method]),
            "dataset": dataset,
            "dataset_label": f"{dataset}, 50000 images",
            "method": method,
            "granularity": "" if role == "clean" else "image",
            "budget": "none (no noise)" if role == "clean" else "Linf 8/255",
            "victim": victim,
            "defense": defense,
            "comparable_training": True,
            "poison_ratio": 0.0 if role == "clean" else 1.0,
            "seed": seed,
            "control": role,
            "published_names": [],
            "prepares_once": False,
            "reduced": {"rounds": [place, 50]} if place > 7 else {},
            "sources": {"rounds": "paper"} if place > 7 else {},
            "chosen": {},
            "adjusted": {},
        }


def made_record(trial: dict[str, Any]) -> dict[str, Any]:
    """A record of 60 epochs. Whatever is measured differs from trial to trial, with as many digits as a float has."""
    chance = random.Random(trial["id"])
    accuracy = 90.0 if trial["control"] else 20.0
    curves = {
        name: [accuracy + chance.gauss(0, 1) for _ in range(60)]
        for name in ("train_loss", "train_accuracy", "test_accuracy")
    }
    last, best = curves["test_accuracy"][-1], max(curves["test_accuracy"])
    usual = {"prepare": 0.0, "protect": 7.5, "train": 400.25, "evaluate": 12.5, "probe": 1.5}
    wall, device = ({phase: each * chance.uniform(0.9, 1.1) for phase, each in usual.items()} for _ in "12")
    noise = {"key": digest(trial["id"]), "psnr_db": chance.gauss(34, 1), "linf": 8}
    settings = {f"setting{n}": n / 8 for n in range(12)}
    parts = ("dataset", "method", "victim", "defense")
    return {
        **{key: trial[key] for key in ("id", "dataset", "method", "victim", "defense", "poison_ratio", "seed")},
        "suite": "scale",
        "profile": "made",
        "status": "done",
        "metrics": {"accuracy_last": last, "accuracy_best": best, "accuracy_best_epoch": 50},
        "curves": curves,
        "noise": None if trial["control"] == "clean" else noise,
        "mask": None,
        "seconds": wall,
        "device_seconds": device,
        "peak_bytes": 2_000_000_000,
        "device": {"type": "cpu", "name": "made", "threads": 1},
        "notes": {},
        "warnings": [],
        "sources": {part: digest(trial[part]) for part in parts},
        "config": {
            **{part: {"name": trial[part], "parameters": settings} for part in parts},
            "recipe": settings,
            "seed": trial["seed"],
        },
        "versions": {"ue_bench": "0.1.0", "torch": "2.15.0"},
        "commit": "0123456789",
        "error": None,
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip


def fill(folder: Path, count: int) -> None:
    """Writes plan and records as a store keeps them; without waiting for the disk, a file at a time."""
    from ue_bench.trials.store import Store

    store, plan = Store(folder), made_plan(count)
    (folder / "trials").mkdir()
    store.write = lambda parts, content: folder.joinpath(*parts).write_bytes(content)  # type: ignore[method-assign]
    for trial in plan["trials"]:
        store.write_record(made_record(trial))
    (folder / "plans").mkdir()
    store.write_plan("made", plan)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(plan, records) as ``ue-bench report`` and a run that goes on read them, which change nothing."""
    from ue_bench.trials.store import Store

    store = Store(folder)
    (plan,) = store.read_plans()
    return plan, store.read_records((trial["id"] for trial in plan["trials"]), later=True)


def report(folder: Path) -> None:
    """What ``ue-bench report`` does."""
    from ue_bench.cli.reporting import report_command
    from ue_bench.report import View

    report_command([f"store={folder}", f"out={folder / 'page.md'}"], "markdown", View(), False, False, None)


def plan_suite(folder: Path, count: int) -> None:
    """Plans a suite of ``count`` trials: twenty arms and defenses of the content that is installed, many seeds."""
    from ue_bench.configure import configure
    from ue_bench.registry import Registry
    from ue_bench.trials.plan import make_plan

    words = ["suite=quickstart", "profile=smoke", "defense=[none,jpeg,grayscale,cutout]", f"store={folder}"]
    config, command = configure([*words, "seeds=1"])
    arms = len(make_plan(config, Registry(), command).trials)
    config, command = configure([*words, f"seeds={-(-count // arms)}"])
    plan = make_plan(config, Registry(), command)
    assert len(plan.trials) >= count and plan.key


def measured(work: Callable[..., Any], *what: Any) -> str:
    """Core-seconds, seconds and GB of ``work``, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        core, wall, peak = pool.apply(_measure, (work, *what))
    return f"{core:.1f} core-seconds ({wall:.1f} s by the clock), {peak / 1e9:.2f} GB"


def _measure(work: Callable[..., Any], *what: Any) -> tuple[float, float, int]:
    core, wall = time.process_time(), time.perf_counter()
    work(*what)
    core, wall = time.process_time() - core, time.perf_counter() - wall
    return core, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(words: list[str]) -> None:
    given = read_words(words, WORDS, (), "python tests/scale.py [records=N trials=N]")
    records, trials = read_whole(given, "records", 1), read_whole(given, "trials", 1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(folder, records)
        print(f"reading {records} records: {measured(read, folder)}", flush=True)
        print(f"report of {records} records: {measured(report, folder)}", flush=True)
        print(f"planning {trials} trials: {measured(plan_suite, folder, trials)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
