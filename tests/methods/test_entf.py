"""EntF: both losses and centres by hand, what it asks for, and where a robust surrogate sees the images afterwards."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_context
from learnable import pictures, protect
from torch import nn

from ue_bench import ImageSet, ProtectorView
from ue_bench.crafting.resident import ResidentImages
from ue_bench.errors import ConfigError
from ue_bench.training.optim import learning_rate
from ue_bench_methods import entf
from ue_bench_methods.entf import EntF, Features, entangled

CENTRES = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 9.0]])
LEARNS = {
    "surrogate": "resnet_tiny",
    "surrogate_epochs": 5,
    "surrogate_batch_size": 16,
    "learning_rate": 0.05,
    "crop_padding": 0,
    "robust_steps": 2,
    "robust_radius": 2.0,
    "shift": 0.0,
    "iterations": 10,
    "step_size": 1.6,
}


def test_push_is_the_distance_from_the_own_centre():
    features = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert float(entangled(features, CENTRES, torch.tensor([0, 1]), "push")) == 2 + 5


def test_pull_is_the_distance_from_the_nearest_centre_of_another_class():
    """Each is nearest to class 0; what is of class 0 goes elsewhere: the third to the last class, far away as it is."""
    features = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-20.0, -1.0]])
    labels = torch.tensor([1, 0, 0])
    assert float(entangled(features, CENTRES, labels, "pull")) == 2 + 5 + (20**2 + 10**2)
    place = features.clone().requires_grad_()
    (slope,) = torch.autograd.grad(entangled(place, CENTRES, labels, "pull"), place)
    assert slope.tolist() == [[2, 2], [-4, 2], [-40, -20]]


def flat(*weights: list[float]) -> nn.Module:
    """Features are sums of the pixels, weighed by ``weights``, one list of 12 for each; then two logits."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(12, len(weights), bias=False), nn.ReLU(), nn.Linear(len(weights), 2)
    )
    with torch.no_grad():
        model[1].weight[:] = torch.tensor(weights)
    return model


def test_centres_are_the_mean_features_of_each_class():
    """Before the last layer, after its ReLU: brightness 1, 0.2 and 0.6 of 12 pixels; darkness is never above 0."""
    model = flat([1.0] * 12, [-1.0] * 12)
    shades = torch.tensor([255, 51, 153], dtype=torch.uint8)
    images = ResidentImages(shades.view(3, 1, 1, 1).expand(3, 3, 2, 2).contiguous(), torch.device("cpu"))
    found = EntF(batch_size=2)._centres(Features(model, 2, False), images, torch.tensor([0, 1, 1]), 2)
    torch.testing.assert_close(found, torch.tensor([[12.0, 0.0], [12 * 0.4, 0.0]]))
    with pytest.raises(ConfigError, match="linear layer"):
        Features(nn.Conv2d(3, 2, 1), 2, False)


GREY = ImageSet(
    torch.tensor([100, 150, 100, 150], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2).contiguous(),
    torch.tensor([0, 1, 0, 1]),
    None,
    ("a", "b"),
)


@pytest.fixture
def asked(monkeypatch):
    """What EntF asks for, with a surrogate to which images are as bright as their pixels but two are turned round."""
    seen, moves = {}, entf.ShiftFlip
    model = flat([1.0] * 6 + [0.5] * 5 + [-0.25])

    def train(view, context, name, recipe, attack, start):
        seen.update(name=name, recipe=recipe, attack=attack, start=start)
        return model

    def watched(mean, pixels, flip):
        seen.update(mean=mean, pixels=pixels, flip=flip)
        return moves(mean, 0.0, 0.0)

    walk = entf.project
    monkeypatch.setattr(entf, "trained_on_clean", train)
    monkeypatch.setattr(entf, "ShiftFlip", watched)
    monkeypatch.setattr(
        entf, "project", lambda *what: seen.update(first=what[1].clone(), walk=what[3]) or walk(*what)
    )
    return seen


def make(method: EntF) -> torch.Tensor:
    return method.protect(ProtectorView(GREY, method.access, "supervised", "entf"), fresh_context()).noise


def test_pull_goes_to_the_other_class(asked):
    """Dark images get brighter where the feature rises with the pixel, and darker at the last one; bright ones not."""
    noise = make(EntF(variant="pull", iterations=60))
    wanted = torch.tensor([8] * 11 + [-8], dtype=torch.int8).view(3, 2, 2)
    assert all(torch.equal(noise[n], wanted if n % 2 == 0 else -wanted) for n in range(4))
    assert not asked["walk"].maximise


def test_push_goes_away_from_the_own_centre(asked):
    noise = make(EntF(iterations=60))
    wanted = torch.tensor([8] * 11 + [-8], dtype=torch.int8).view(3, 2, 2)
    assert all(torch.equal(each, wanted) or torch.equal(each, -wanted) for each in noise)
    assert asked["walk"].maximise


def test_the_settings_are_the_papers(asked):
    make(EntF())
    assert (asked["name"], asked["pixels"], asked["flip"]) == ("resnet18", 8.0, 0.5)
    assert asked["mean"] == pytest.approx((125 / 255,) * 3)
    walk, attack, recipe = asked["walk"], asked["attack"], asked["recipe"]
    assert (255 * walk.radius, 255 * walk.step_size, walk.steps) == pytest.approx((8, 0.4, 300))
    assert (attack.radius, attack.step_size, attack.steps) == (4.0, 2.0, 10)
    rates = [learning_rate(recipe, epoch, 0, 10) for epoch in (0, 74, 75, 89, 90, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (recipe.batch_size, recipe.weight_decay, recipe.crop_padding, recipe.flip) == (128, 5e-4, 4, True)


def test_noise_starts_normal_and_a_third_of_it_at_the_bound(asked, monkeypatch):
    wide = ImageSet(torch.full((4, 3, 64, 64), 128, dtype=torch.uint8), GREY.labels, None, ("a", "b"))
    monkeypatch.setattr(
        entf, "trained_on_clean", lambda *what, **more: nn.Sequential(nn.Flatten(), nn.Linear(12288, 2))
    )
    method = EntF(iterations=1)
    method.protect(ProtectorView(wide, method.access, "supervised", "entf"), fresh_context())
    first = 255 * asked["first"]
    assert float(first.abs().max()) == pytest.approx(8)
    assert float((first.abs() > 7.999).float().mean()) == pytest.approx(0.317, abs=0.01)
    assert float((first.abs() < 4).float().mean()) == pytest.approx(0.383, abs=0.01)
    assert asked["pixels"] == 16, "twice as far in pictures twice as large"


@pytest.mark.parametrize("variant", ["push", "pull"])
def test_a_robust_surrogate_sees_the_images_elsewhere(variant):
    run = protect(EntF(variant=variant, **LEARNS), pictures(160))
    notes = run.context.notes
    assert notes["surrogate_clean_nearest_percent"] > 90 > 60 > notes["surrogate_nearest_percent"]
    assert notes["surrogate_protected_distance"] > 1.5 * notes["surrogate_clean_distance"]
    assert int(run.noise.noise.abs().max()) == 8 and len(run.noise.noise.unique(dim=0)) == 160


def test_one_class_is_refused():
    one = ImageSet(GREY.images, torch.zeros(4, dtype=torch.int64), None, ("a",))
    with pytest.raises(ConfigError, match="two classes"):
        EntF().protect(ProtectorView(one, EntF.access, "supervised", "entf"), fresh_context())
