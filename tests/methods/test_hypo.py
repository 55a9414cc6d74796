"""HYPO and HYPO+: steps and projections on a surrogate worked by hand, recipes, and what a trained surrogate says."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_context
from learnable import pictures, protect
from torch import nn

from ue_bench import Budget, ImageSet, ProtectorView
from ue_bench.contracts.perturbation import sizes
from ue_bench.training.optim import learning_rate
from ue_bench_methods import hypo, hypo_robust
from ue_bench_methods._adversarial.robust import RobustTraining
from ue_bench_methods.hypo import HYPO
from ue_bench_methods.hypo_robust import HypoRobust

GREY = ImageSet(
    torch.full((4, 3, 2, 2), 128, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), None, ("a", "b")
)
LEARNS = {
    "surrogate": "resnet_tiny",
    "surrogate_epochs": 12,
    "surrogate_batch_size": 16,
    "learning_rate": 0.05,
}


def bright() -> nn.Module:
    """A model to which a bright image is of class 0 and a dark one of class 1."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight[0], model[1].weight[1], model[1].bias[:] = 1.0, -1.0, torch.tensor([-6.0, 6.0])
    return model


@pytest.fixture
def asked(monkeypatch):
    """(module) -> what it asks ``trained_on_clean`` for; it gets ``bright``."""
    seen = []

    def watch(module):
        def give(view, context, name, recipe, *rest, start):
            seen.append((name, recipe, *rest))
            return bright()

        monkeypatch.setattr(module, "trained_on_clean", give)
        return seen

    return watch


def make(method, data=GREY):
    view = ProtectorView(data, method.access, "supervised", "hypo")
    return method.protect(view, fresh_context()).noise


def test_linf_noise_of_a_linear_surrogate_is_the_sign_of_its_label(asked):
    seen = asked(hypo)
    assert make(HYPO()).flatten(1).unique(dim=1).tolist() == [[8], [-8], [8], [-8]]
    assert seen[0][0] == "resnet18"
    # A step is a tenth of the radius: 0.8 of 8, which is 1 in whole steps; 1.6 of 16.
    assert make(HYPO(iterations=1)).unique().tolist() == [-1, 1]
    assert make(HYPO(iterations=2, budget=Budget("linf", 16))).unique().tolist() == [-3, 3]


def test_the_papers_l2_noise_is_spread_evenly_over_a_linear_surrogates_inputs(asked):
    seen = asked(hypo)
    noise = make(HYPO(budget=Budget("l2", 0.5)))
    assert seen[0][0] == "vgg16"
    # Twelve equal values of norm 0.5 are 0.1443 each, 36.8 steps: 36, because 37 would be over.
    assert noise.flatten(1).unique(dim=1).tolist() == [[36], [-36], [36], [-36]]
    assert float(sizes(noise, "l2").max()) <= 0.5
    # One step is a fifth: 0.1 in norm, 0.0289 a value, 7.4 steps.
    assert make(HYPO(budget=Budget("l2", 0.5), iterations=1)).unique().tolist() == [-7, 7]


def test_a_saturated_pixel_keeps_no_noise_that_it_cannot_show(asked):
    asked(hypo)
    images = GREY.images.clone()
    images[:, :, 0, 0] = 255
    noise = make(HYPO(), ImageSet(images, GREY.labels, None, GREY.class_names))
    # Only the last step is left there, which publishing clips.
    assert (
        (noise[0, :, 0, 0] == 1).all() and (noise[1, :, 0, 0] == -8).all() and (noise[0, :, 1, 1] == 8).all()
    )


def test_the_learning_rate_falls_after_100_and_125_of_150_epochs(asked):
    seen = asked(hypo)
    make(HYPO())
    rates = [learning_rate(seen[0][1], epoch, 0, 10) for epoch in (0, 99, 100, 124, 125, 149)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.fixture(scope="module")
def made():
    return protect(HYPO(crop_padding=0, iterations=20, **LEARNS), pictures())


def test_a_trained_surrogate_is_more_certain_of_almost_every_image(made):
    fell = made.losses(protected=True) <= made.losses(protected=False)
    assert float(fell.float().mean()) > 0.99
    notes = made.context.notes
    assert notes["surrogate_protected_loss"] == pytest.approx(float(made.losses(True).mean()), rel=1e-4)
    assert notes["surrogate_clean_loss"] == pytest.approx(float(made.losses(False).mean()), rel=1e-4)
    assert notes["surrogate_error_percent"] == pytest.approx(100 - made.accuracy(True))


def test_every_image_has_noise_of_its_own_within_the_budget(made):
    noise = made.noise.noise
    assert noise.dtype == torch.int8 and int(noise.abs().max()) == 8 and len(noise.unique(dim=0)) == 240


def test_the_robust_surrogates_attack_ends_at_its_radius():
    images, targets = torch.full((2, 3, 2, 2), 0.5), torch.eye(2)
    generator = torch.Generator().manual_seed(0)
    attacked = RobustTraining().attack(bright(), images, targets, generator)
    moved = (attacked - images) * 255  # away from the own label: class 0 darker, class 1 brighter
    torch.testing.assert_close(moved[0], torch.full((3, 2, 2), -2.0), rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[1], torch.full((3, 2, 2), 2.0), rtol=0, atol=1e-4)


def test_hypo_robust_trains_adversarially_and_moves_the_images(asked, monkeypatch):
    seen, shifts = asked(hypo_robust), []
    moves = hypo_robust.ShiftFlip

    def watched(mean, pixels, flip):
        shifts.append((pixels, flip))
        return moves(mean, pixels, flip)

    monkeypatch.setattr(hypo_robust, "ShiftFlip", watched)
    noise = make(HypoRobust(iterations=12, shift=0.0))
    assert noise.flatten(1).unique(dim=1).tolist() == [[8], [-8], [8], [-8]]
    name, recipe, attack = seen[0]
    assert (name, recipe.epochs, recipe.schedule) == ("resnet18", 10, "constant")
    assert (attack.radius, attack.step_size, attack.steps) == (2.0, 0.5, 10) and shifts == [(0.0, 0.5)]
