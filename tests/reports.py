"""Plans and records for tests of reports, written by hand."""

from __future__ import annotations

from ue_bench.report import View

WIDE = View(wide=True)  # one table with every column

CLEAN = {"method": "plain", "granularity": "", "budget": "none (no noise)", "control": "clean"}
RANDOM = {"method": "dice", "control": "random"}


def entry(seed=0, **changes):
    """A planned trial; its id spells out all that it is."""
    trial = {
        "dataset": "tiny",
        "dataset_label": "tiny (40 train, 20 test)",
        "method": "mine",
        "granularity": "image",
        "budget": "Linf 8/255",
        "victim": "net",
        "defense": "none",
        "poison_ratio": 1.0,
        "seed": seed,
        "control": None,
        "published_names": [],
        "reduced": {},
        **changes,
    }
    names = ("method", "granularity", "budget", "dataset", "victim", "defense", "poison_ratio", "seed")
    return {"id": "-".join(str(trial[name]) for name in names) + str(changes.get("reduced", "")), **trial}


def record(trial, accuracy, train=99.0, **changes):
    """A finished record of a trial."""
    noisy = trial["control"] != "clean"
    key = f"{trial['method']}-{trial['granularity']}-{trial['dataset']}-{trial['seed']}"
    seconds = {
        "train": 40.0,
        "evaluate": 1.0,
        **({"prepare": 5.0, "protect": 3.0 + trial["seed"]} if noisy else {}),
    }
    return {
        "id": trial["id"],
        "status": "done",
        "method": trial["method"],
        "metrics": {
            "accuracy_last": accuracy,
            "accuracy_best": accuracy + 10,
            "accuracy_best_epoch": 2 + trial["seed"],
            "train_accuracy_last": train,
        },
        "noise": {"key": key, "psnr_db": 33.0} if noisy else None,
        "seconds": seconds,
        "device_seconds": {phase: 2 * value for phase, value in seconds.items()},
        "peak_bytes": 1_500_000_000,
        "device": {"type": "cpu", "name": "Some CPU", "threads": 2},
        "versions": {"ue_bench": "0.1.0", "torch": "2.6.0"},
        "commit": "abc1234",
        "warnings": [],
        "error": None,
        "created": "2026-01-02T03:04:05+00:00",
        **changes,
    }


def plan(trials, **changes):
    return {
        "schema": 1,
        "suite": "demo",
        "title": "A demo",
        "profile": "smoke",
        "command": "ue-bench run suite=demo",
        "paradigm": "supervised",
        "floors": {"clean_accuracy": 80.0, "train_accuracy": 50.0},
        "table": {"rows": ["method"], "columns": ["dataset"], "metric": "accuracy_last"},
        "trials": trials,
        "skipped": [],
        **changes,
    }


def world(values, **changes):
    """(plan, records) from pairs of (trial, record or None)."""
    pairs = [(trial, made) for trial, made in values]
    return plan([trial for trial, _ in pairs], **changes), {t["id"]: r for t, r in pairs if r is not None}


def seeds(changes, accuracies, **more):
    """(trial, record) for each accuracy; None stands for a missing record."""
    trials = [entry(seed, **changes) for seed in range(len(accuracies))]
    return [(t, None if a is None else record(t, a, **more)) for t, a in zip(trials, accuracies, strict=True)]


def cells_of(text):
    """Markdown's rows as {first cell: {heading: text}}."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(split[0], row, strict=True)) for row in split[2:]]


SOUND = [
    *seeds(CLEAN, [90.0, 92.0, 94.0]),
    *seeds(RANDOM, [88.0, 90.0, 89.0]),
    *seeds({}, [10.0, 12.0, 14.0]),
]
