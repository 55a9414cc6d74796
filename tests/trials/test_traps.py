"""One test for each trap that the field fell into; those that live elsewhere are named here.

T1 wrong noise index: test_conformance.py (noise follows the image). T2 broken artefact: test_perturbation.py,
test_run.py.
T3 nothing poisoned, T4 ratio by batch position: test_poison.py. T9 unbounded search: test_em.py. T11 last against best:
test_training.py. T12 names in the harness, T13 library internals: test_architecture.py.
"""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from ue_bench.registry import Registry
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.store import Store


def records(folder) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((folder / "trials").iterdir())]


def test_t5_one_epsilon_never_reaches_another_norm(command):
    planned = command(
        "run", "suite=toy", "method=[ar,synper,em]", "epsilon=4/255", "--dry-run", "--all", "--no-calibrate"
    ).out
    budgets = {
        line.split()[3]: line.rpartition("; ")[2] for line in planned.splitlines() if "to do  " in line
    }
    assert budgets["synper"] == "L2 0.6521", "1.304 at 32 pixels, whose quarter these images have"
    assert budgets["ar"] == "L2 1" and budgets["em"] == "Linf 4/255"


def test_t6_what_ran_is_written(command, tmp_path):
    """A documented path of another suite computed noise and never saved it."""
    assert command("run", "suite=toy", "method=[synper,fragile]").status == 0
    for record in records(tmp_path / "store"):
        if record["noise"]:
            kept, facts = load_perturbation(Store(tmp_path / "store"), record["noise"]["key"])
            assert bool(kept.noise.any()) and facts["method"]["name"] == record["method"]


def test_t7_rows_are_named_by_what_was_done(command):
    """Another suite called every run without a defense 'cutout'."""
    out = command("run", "suite=toy", "defense=[none,cutout]", "method=fragile").out
    rows = [line for line in out.splitlines() if line.startswith("| fragile")]
    assert (
        len(rows) == 2
        and sum("cutout" in row for row in rows) == 1
        and sum("none" in row for row in rows) == 1
    )


def test_t8_a_dead_victim_protects_nothing(command):
    out = command("run", "suite=toy", "floors.clean_accuracy=99", "floors.train_accuracy=0").out
    rows = [line for line in out.splitlines() if line.startswith(("| random", "| fragile"))]
    assert rows and all("†" in row for row in rows)
    assert "floor is 99" in out


def test_t10_victims_are_given_what_a_person_would_publish(command, monkeypatch):
    """8-bit images with the noise in them, before any augmentation."""
    from ue_bench.trials.paradigms import WAYS

    seen = []
    real = WAYS["supervised"]

    def train(model, data, *rest, **named):
        seen.append(data)
        return real.train(model, data, *rest, **named)

    monkeypatch.setitem(WAYS, "supervised", dataclasses.replace(real, train=train))
    command("run", "suite=toy", "method=fragile", "fragile.granularity=image")
    clean, _, protected = seen
    assert protected.images.dtype == torch.uint8
    step = protected.images.to(torch.int16) - clean.images.to(torch.int16)
    assert set(step.unique().tolist()) == {-8, 8}


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_t14_splits_never_change(name):
    """Subsets drawn without a seed in two scripts may disagree."""
    dataset = Registry().create(
        "datasets", name, {"train_images": 50, "test_images": 20} if name == "shapes" else {}
    )
    one, two = dataset.load(16), dataset.load(16)
    assert torch.equal(one.train.images, two.train.images) and torch.equal(one.test.labels, two.test.labels)
