"""Victims that learn from views of unlabelled images, and the linear probe that tells what they learned."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from conftest import CPU, build_victim
from torch import nn

from ue_bench import ImageSet
from ue_bench.config import compose, parse_words, read_suite
from ue_bench.crafting.contrastive import nt_xent
from ue_bench.registry import Registry
from ue_bench.training.recipe import Recipe
from ue_bench.training.unlabelled import ProbeCurves, fit_probe, train_without_labels
from ue_bench.trials import evaluate as evaluating
from ue_bench.trials.plan import make_plan

RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.1, crop_padding=0, flip=False)


def pictures(count=96, seed=0) -> ImageSet:
    """16 pixels square, three classes of colour under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 3, 16, 16), generator=generator)
    images[torch.arange(count), labels] += 100
    return ImageSet(images.to(torch.uint8), labels, None, ("red", "green", "blue"))


def trained(data, clean, seed=0, name="simclr_tiny", recipe=RECIPE):
    model = build_victim(name, 3, (16, 16), 0)
    test = pictures(30, seed=1)
    return train_without_labels(model, data, recipe, device=CPU, seed=seed, test=test, clean=clean), model


def test_nt_xent_by_hand():
    """Two images with orthogonal codes, equal views, temperature 1/2: the partner at e^2, two strangers at 1."""
    codes = torch.eye(2)
    assert float(nt_xent(codes, codes, 0.5)) == pytest.approx(math.log(1 + 2 * math.exp(-2)))


class Means(nn.Module):
    """Features: the mean of each colour."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(3, 3)

    def features(self, images):
        return images.mean(dim=(2, 3))


def test_the_probe_is_linear_and_leaves_the_features_alone():
    model, data = Means(), pictures()
    assert fit_probe(model, data, CPU) == 100.0
    assert model.classifier.weight.diag().min() > 0, "each class by its own colour"
    alike = dataclasses.replace(data, images=torch.full_like(data.images, 7), _memo={})
    assert fit_probe(Means(), alike, CPU) == pytest.approx(100 / 3), "equal features tell nothing"


@pytest.mark.parametrize("name", ["simclr_tiny", "moco_tiny"])
def test_the_labels_of_what_was_published_are_never_read(name):
    """Pretraining is the same without labels; the probe has the clean ones."""
    clean = pictures()
    hidden = dataclasses.replace(clean, labels=None, _memo={})
    one, first = trained(clean, clean, name=name)
    two, second = trained(hidden, clean, name=name)
    assert dataclasses.asdict(one) == dataclasses.asdict(two)
    assert all(a.equal(b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    shuffled = dataclasses.replace(clean, labels=clean.labels.roll(1), _memo={})
    other, _ = trained(clean, shuffled, name=name)
    assert other.train_loss == one.train_loss and other.test_accuracy != one.test_accuracy


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("name", ["simclr_tiny", "moco_tiny"])
def test_the_recipe_decides_about_bf16(name, bf16, monkeypatch):
    wanted = []
    monkeypatch.setattr(
        "ue_bench.crafting.contrastive.autocast",
        lambda device, on: wanted.append(on) or torch.autocast("cpu", enabled=False),
    )
    probed = []
    monkeypatch.setattr(
        "ue_bench.training.supervised.autocast",
        lambda device, on: probed.append(on) or torch.autocast("cpu", enabled=False),
    )
    trained(pictures(), pictures(), name=name, recipe=dataclasses.replace(RECIPE, epochs=1, bf16=bf16))
    assert set(wanted) == {bf16} and set(probed) == {False}, "probes are float32 in either case"


def test_the_seed_decides():
    clean = pictures()
    assert trained(clean, clean)[0].train_loss == trained(clean, clean)[0].train_loss
    assert trained(clean, clean)[0].train_loss != trained(clean, clean, seed=1)[0].train_loss


def test_pretraining_lowers_the_loss_and_moves_the_backbone_only():
    clean = pictures()
    recipe = dataclasses.replace(RECIPE, epochs=5)
    curves, model = trained(clean, clean, recipe=recipe)
    assert curves.train_loss[-1] < curves.train_loss[0] < math.log(2 * 32 - 1) + 0.5
    assert len(curves.test_accuracy) == len(curves.train_accuracy) == 5
    assert curves.test_accuracy[-1] > 90 and curves.metrics()["accuracy_last"] == curves.test_accuracy[-1]
    assert curves.metrics()["untrained_accuracy"] == curves.untrained_accuracy[0]
    assert model.classifier.weight.grad is None


def test_a_queue_goes_on_where_it_was():
    _, model = trained(pictures(), pictures(), name="moco_tiny")
    assert model.model.position == 2 * 96 % 1024
    again = build_victim("moco_tiny", 3, (16, 16), 5)
    again.load_state_dict(model.state_dict())
    assert again.model.position == model.model.position and again.model.queue.equal(model.model.queue)


def test_defenses_that_need_labels_are_skipped():
    registry = Registry()
    names = [name for kind in ("methods", "victims", "datasets", "defenses") for name in registry.names(kind)]
    content = read_suite(registry.find("suites", "self_supervised").path)
    words = parse_words(
        ["profile=smoke", "method=[]", "defense=[none,jpeg,mixup,early_stopping,jpeg+cutout]"]
    )
    made = make_plan(compose("self_supervised", content, words, names), registry, "command")
    assert {trial.defense.name for trial in made.trials} == {"none", "jpeg"}
    assert any("mixup acts on batches with labels" in item["reason"] for item in made.skipped)


def test_what_is_published_trains_and_what_is_clean_is_probed(command, tmp_path, monkeypatch):
    seen = []

    def spy(model, data, recipe, **more):
        seen.append((data.images, more["clean"].images))
        return ProbeCurves([1.0], [50.0], [40.0], untrained_accuracy=[20.0])

    way = dataclasses.replace(evaluating.WAYS["supervised"], others={"views": spy})
    monkeypatch.setitem(evaluating.WAYS, "supervised", way)
    ended = command("run", "suite=toy", "method=fragile", "victim=simclr_tiny")
    assert ended.status == 0, ended.err
    changes = [int((data.int() - clean.int()).abs().max()) for data, clean in seen]
    assert changes == [0, 8, 8], "clean data, random noise and the method's"
    assert all(clean.equal(seen[0][1]) for _, clean in seen)
    assert "untrained victims: accuracy 20.00" in ended.out
    (record, *_) = (json.loads(path.read_text()) for path in (tmp_path / "store" / "trials").iterdir())
    assert record["metrics"]["untrained_accuracy"] == 20.0
