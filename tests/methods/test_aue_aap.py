"""AUE and AAP: strengths, schedules and aims by hand, and what a trained surrogate says of the noise."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from conftest import fresh_context
from learnable import pictures, protect
from torch import nn

from ue_bench import ProtectorView
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.views import view
from ue_bench_methods import aap, aue
from ue_bench_methods._aue.views import OnViews, StrongViews, augmentation_of
from ue_bench_methods.aap import AAP
from ue_bench_methods.aue import AUE


@pytest.mark.parametrize(
    ("strength", "wanted"),
    [
        (0.6, (0.46, 0.24, 0.24, 0.24, 0.06, 0.48, 0.12)),
        (1.0, (0.1, 0.4, 0.4, 0.4, 0.1, 0.8, 0.2)),
        (0.0, (1.0, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_the_augmentation_follows_from_one_strength(strength, wanted):
    made = augmentation_of(strength)
    names = ("smallest_area", "brightness", "contrast", "saturation", "hue", "jitter", "grey")
    assert [getattr(made, name) for name in names] == pytest.approx(wanted) and made.flip == 0.5


def test_the_loss_is_taken_on_new_views_and_errors_on_the_images():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(6, 3, 8, 8, generator=generator), torch.arange(6) % 3
    model, plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), Classification(labels)
    goal = OnViews(plain, StrongViews(0.6), torch.Generator().manual_seed(5))
    every = slice(0, 6)
    seen = view(images, augmentation_of(0.6), torch.Generator().manual_seed(5))
    first = goal.loss(model, images, every)
    assert torch.equal(first, plain.loss(model, seen, every))
    assert not torch.equal(goal.loss(model, images, every), first)
    assert torch.equal(goal.errors(model, images, every), plain.errors(model, images, every))


def test_the_learning_rate_is_half_a_cosine_to_a_millionth():
    assert aue.rate(0.1, 0, 60) == pytest.approx(0.1)
    assert aue.rate(0.1, 30, 60) == pytest.approx((0.1 + 1e-6) / 2)
    assert aue.rate(0.1, 60, 60) == pytest.approx(1e-6)


class Counted(nn.Module):
    """Counts its passes by mode."""

    def __init__(self, classes):
        super().__init__()
        self.inner, self.passes = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, classes)), Counter()

    def forward(self, images):
        self.passes["train" if self.training else "eval"] += 1
        return self.inner(images)


def test_an_epoch_is_one_pass_in_training_mode_and_one_sweep_in_evaluation_mode():
    data, model = pictures(40), Counted(4)
    context = fresh_context(build=lambda *_: model)
    method = AUE(epochs=2, noise_steps=3, batch_size=16)
    noise = method.protect(ProtectorView(data, AUE.access, "supervised", "aue"), context)
    # 40 images are 3 batches of 16, the last one smaller: 2 * 3 training steps, 2 * 3 * 3 noise steps, 2 judgements.
    assert model.passes == {"train": 6, "eval": 20}
    noise.check(40, (16, 16))
    # Two sweeps of three steps of 0.8 reach 4.8 at most, which is 5 in whole steps.
    assert 2 <= int(noise.noise.abs().max()) <= 5


def test_aue_makes_its_surrogate_right_about_images_that_are_protected():
    run = protect(AUE(surrogate="resnet_tiny", batch_size=16, epochs=12, learning_rate=0.05), pictures())
    assert run.accuracy(protected=True) > 95 and int(run.noise.noise.abs().max()) == 8
    assert float((run.losses(True) < run.losses(False)).float().mean()) > 0.9


@pytest.fixture
def aims(monkeypatch):
    """What AAP asks for: its surrogate's recipe and augmentation, its walk, and where the noise leads."""
    seen = {}

    def train(view, context, name, recipe, augmentation, start):
        seen.update(name=name, recipe=recipe, augmentation=augmentation)

    def descend(model, view, context, budget, walk, batch_size, bf16, transform, aim):
        seen.update(walk=walk, transform=transform, aim=aim)

    monkeypatch.setattr(aap, "trained_on_clean", train)
    monkeypatch.setattr(aap, "descend", descend)
    return seen


@pytest.mark.parametrize("untargeted", [False, True])
def test_aap_leads_to_the_next_class_or_away_from_the_own_one(aims, untargeted):
    data = pictures(8)
    AAP(untargeted=untargeted).protect(ProtectorView(data, AAP.access, "supervised", "aap"), fresh_context())
    own = [0, 1, 2, 3, 0, 1, 2, 3]
    assert aims["aim"].tolist() == (own if untargeted else [1, 2, 3, 0, 1, 2, 3, 0])
    walk = aims["walk"]
    assert walk.maximise == untargeted and walk.steps == 250
    assert 255 * walk.step_size == pytest.approx(0.08) and 255 * walk.radius == pytest.approx(8)
    assert aims["augmentation"] == aims["transform"] == StrongViews(0.4)
    recipe = aims["recipe"]
    assert (recipe.epochs, recipe.learning_rate, recipe.warmup_epochs) == (40, 0.5, 10.0)
    assert (recipe.weight_decay, recipe.crop_padding, recipe.flip) == (1e-4, 0, False)


def test_aap_makes_its_surrogate_see_the_next_class():
    settings = {
        "surrogate_epochs": 12,
        "surrogate_batch_size": 16,
        "learning_rate": 0.05,
        "warmup_epochs": 1.0,
    }
    run = protect(AAP(surrogate="resnet_tiny", iterations=40, **settings), pictures(contrast=0.06))
    seen = run.logits(protected=True).argmax(1)
    assert float((seen == (run.data.labels + 1) % 4).float().mean()) > 0.6
    assert float((run.logits(protected=False).argmax(1) == run.data.labels).float().mean()) > 0.6
