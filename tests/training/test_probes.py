"""Probes: linear models and small nets that learn noise, and a victim's last layer trained on clean images."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ue_bench import probes
from ue_bench.data.imageset import ImageSet
from ue_bench.probes import logistic, noise_probes, percent_right
from ue_bench.training.last_layer import features_of, probe_accuracy

CPU = torch.device("cpu")
DETECTED = 70  # percent: from here on, UDP calls a set unlearnable


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_classifier_by_hand():
    """Three points on a line, far from zero: the classes meet between them, and the bias says where."""
    features, labels = torch.tensor([[100.0], [101.0], [104.0]]), torch.tensor([0, 0, 1])
    weights = logistic(features, labels, 2, passes=50)
    assert percent_right(features, weights, labels) == 100
    border = float((weights[-1, 0] - weights[-1, 1]) / (weights[0, 1] - weights[0, 0]))
    assert 101 < border < 104
    assert percent_right(features, weights, torch.tensor([0, 1, 1])) == pytest.approx(200 / 3)


def test_one_step_of_the_classifier_by_hand():
    """From zero, L-BFGS begins along the gradient: for features -1 and 1 of classes 0 and 1, only the slope moves."""
    features, labels = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    weights = logistic(features, labels, 2, passes=1)
    assert float(weights[0, 1]) == pytest.approx(-float(weights[0, 0])) and float(weights[0, 1]) > 0
    assert not weights[1].any()


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """400 random pictures of 10 pixels, whose labels say nothing about them."""
    images = torch.randint(40, 216, (400, 3, 10, 10), generator=dice(), dtype=torch.uint8)
    return images, torch.arange(400) % 4


def published(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (images.int() + noise).to(torch.uint8)


def test_class_wise_noise_is_found_by_all_and_random_noise_by_none(pictures):
    images, labels = pictures
    draw = torch.randint(0, 2, (400, 3, 10, 10), generator=dice(1)) * 32 - 16
    found = noise_probes(images, published(images, draw[:4][labels]), labels, CPU)
    assert found["separable_percent"] == 100 and found["two_layer_detector_percent"] > 90
    assert found["linear_detector_percent"] > DETECTED
    chance = noise_probes(images, published(images, draw), labels, CPU)
    for name in ("separable_percent", "linear_detector_percent", "two_layer_detector_percent"):
        assert chance[name] < 45, name
    assert chance["separable_train_percent"] == 100, (
        "any noise of fewer images than values is, so it says little"
    )
    assert found == noise_probes(images, published(images, draw[:4][labels]), labels, CPU)


def test_noise_that_hides_in_the_picture_is_separable_and_not_detected(pictures):
    """A noise far weaker than what pictures differ by."""
    images, labels = pictures
    faint = (torch.randint(0, 2, (4, 3, 10, 10), generator=dice(2)) * 2 - 1)[labels]
    found = noise_probes(images, published(images, faint), labels, CPU)
    assert found["separable_percent"] == 100 and found["linear_detector_percent"] < DETECTED


def test_large_sets_are_measured_on_a_part(pictures, monkeypatch):
    images, labels = pictures
    noise = (torch.randint(0, 2, (4, 3, 10, 10), generator=dice(1)) * 32 - 16)[labels]
    monkeypatch.setattr(probes, "MOST_VALUES", 100 * 300)
    seen = []
    monkeypatch.setattr(
        probes, "logistic", lambda features, *rest: seen.append(len(features)) or logistic(features, *rest)
    )
    noise_probes(images, published(images, noise), labels, CPU)
    assert seen == [80]


def test_the_process_draws_nothing(pictures):
    images, labels = pictures
    state = torch.get_rng_state()
    noise_probes(images, published(images, images.int() % 2), labels, CPU)
    assert torch.equal(torch.get_rng_state(), state)


class Victim(nn.Module):
    """Two features, a picture's brightness and 7, through a last layer that is wrong about it."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(2), nn.Linear(2, classes)
        nn.init.zeros_(self.last.weight)

    def forward(self, images):
        bright = images.mean(dim=(1, 2, 3))
        return self.last(self.norm(torch.stack([bright, 0 * bright + 7], dim=1)))


def brightness(count: int, seed: int) -> ImageSet:
    labels = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 3, 4, 4), generator=dice(seed), dtype=torch.uint8)
    return ImageSet(
        images + 100 * labels.to(torch.uint8)[:, None, None, None], labels, class_names=("a", "b")
    )


def test_a_new_last_layer_tells_what_the_features_are_worth():
    train, test, victim = brightness(60, 0), brightness(40, 1), Victim().train()
    before = copy.deepcopy(victim.state_dict())
    assert probe_accuracy(victim, train, test, CPU) == 100
    assert all(torch.equal(value, before[name]) for name, value in victim.state_dict().items())
    assert not victim.last._forward_pre_hooks
    nonsense = ImageSet(
        train.images, train.labels.roll(1)[torch.randperm(60, generator=dice(4))], class_names=("a", "b")
    )
    assert probe_accuracy(victim, nonsense, test, CPU) < 100


def test_features_are_what_the_last_layer_is_given():
    victim, train = Victim(), brightness(3, 0)
    found = features_of(victim, train.images, 2, CPU)
    victim.eval()
    by_hand = victim.norm(
        torch.stack([train.images.float().mean(dim=(1, 2, 3)) / 255, torch.full((3,), 7.0)], dim=1)
    )
    assert torch.allclose(found, by_hand.detach(), atol=1e-5)
    assert features_of(victim, train.images, 5, CPU) is None
    assert features_of(nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()), train.images, 2, CPU) is None
