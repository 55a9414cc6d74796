"""Poison ratios: nested, seeded, and the clean share alone as the line to beat (defenses.md A.5)."""

from __future__ import annotations

import dataclasses
import json

import torch
from conftest import CONTENT
from test_plan import plan

from ue_bench import Budget, Perturbation
from ue_bench.data.imageset import ImageSet
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import poisoned

EMPTY = Budget("linf", 0)


def ingredients() -> tuple:
    """(a trial with noise, its clean training set, noise for it, none for it)."""
    trial = next(trial for trial in plan().trials if trial.method.name == "fragile")
    train = Environment("nowhere", plugins=(CONTENT,)).load(trial).train
    rows = torch.arange(len(train))
    some = torch.ones(len(train), 3, *train.image_size, dtype=torch.int8)
    some[:, :, ::2] = -1
    none = Perturbation(torch.zeros_like(some[:1]), torch.zeros_like(rows), EMPTY)
    return trial, train, Perturbation(some, rows, Budget("linf", 8)), none


def changed(published: ImageSet, clean: ImageSet) -> torch.Tensor:
    return (published.images != clean.images).flatten(1).any(dim=1)


def test_the_clean_share_alone_is_what_others_leave_unprotected():
    trial, train, noise, none = ingredients()
    for ratio in (0.25, 0.5, 0.8):
        at = dataclasses.replace(trial, poison_ratio=ratio)
        mixed, measures = poisoned(at, train, noise)
        alone, unmeasured = poisoned(at, train, none)
        untouched = ~changed(mixed, train)
        assert int(untouched.sum()) == len(train) - round(ratio * len(train)) == len(alone)
        assert measures["changed_images"] == round(ratio * len(train)) and unmeasured is None
        assert torch.equal(alone.images, train.images[untouched])
        assert torch.equal(alone.labels, train.labels[untouched])
        assert torch.equal(mixed.labels, train.labels), "labels stay as they are"


def test_shares_are_nested_and_depend_on_the_seed():
    trial, train, noise, _ = ingredients()

    def at(ratio: float, seed: int = 0) -> torch.Tensor:
        chosen = dataclasses.replace(trial, poison_ratio=ratio, seed=seed)
        return changed(poisoned(chosen, train, noise)[0], train)

    assert not (at(0.2) & ~at(0.4)).any() and not (at(0.4) & ~at(0.8)).any()
    assert not torch.equal(at(0.4), at(0.4, seed=1))


def test_ratio_zero_is_the_clean_control_bit_for_bit():
    """Sheet, section I.1; no other arm repeats it."""
    trial, train, noise, _ = ingredients()
    same, measures = poisoned(dataclasses.replace(trial, poison_ratio=0.0), train, noise)
    assert same is train and measures is None
    found = plan("poison_ratio=[0,0.5]", "method=[fragile,clean_share]")
    assert [t.method.name for t in found.trials if t.poison_ratio == 0] == ["clean"]
    assert {t.method.name for t in found.trials if t.poison_ratio == 0.5} == {
        "random",
        "fragile",
        "clean_share",
    }
    assert found.skipped == [
        {
            "what": "noise at ratio 0%",
            "reason": "without protected images, each trial repeats the clean control",
        }
    ]


def test_nothing_is_left_of_a_fully_protected_set():
    found = plan("poison_ratio=[0.5,1]", "method=clean_share")
    assert [t.poison_ratio for t in found.trials if t.method.name == "clean_share"] == [0.5]
    assert found.skipped[0]["reason"] == "it leaves nothing to train on"


def test_the_report_compares_with_the_share_at_the_same_ratio(command, tmp_path):
    suite = tmp_path / "shares.yaml"
    suite.write_text(
        "dataset: [blobs]\ncontrols: {clean: clean, random: random, share: clean_share}\nmethod: [fragile]\n"
        "victim: [linear]\nrecipe: {epochs: 1, batch_size: 16}\nseeds: 2\npoison_ratio: [0.25, 0.5, 1]\n"
        "table: {columns: [poison_ratio]}\n"
    )
    ended = command("run", "suite=shares", f"plugins=[{CONTENT},{suite}]", "--format", "json")
    assert ended.status == 0, ended.err
    cells = {
        (cell["method"], cell["poison_ratio"]): cell
        for row in json.loads(ended.out)["rows"]
        for cell in row["cells"]
    }
    for ratio in (0.25, 0.5):
        difference = cells["fragile", ratio]["difference_to_share"]
        expected = cells["fragile", ratio]["mean"] - cells["clean_share", ratio]["mean"]
        assert abs(difference["mean"] - expected) < 1e-9 and difference["reference"]["poison_ratio"] == ratio
        assert difference["n"] == 2 and len(difference["interval_95"]) == 2
    assert cells["fragile", 1.0]["difference_to_share"] is None
