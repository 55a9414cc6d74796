"""The trainer: batches, schedules, what it measures, when it stops."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from ue_bench import Defense, ImageSet, Recipe
from ue_bench.clock import Clock
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.training.batches import Batches
from ue_bench.training.optim import learning_rate
from ue_bench.training.supervised import Curves, accuracy, logits_of, train

CPU = torch.device("cpu")


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 4))


def test_crops_are_windows_into_the_zero_padded_image():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4) + 1
    batches = Batches(images, 2, padding=2, flip=False, device=CPU, seed=0)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2)).float() / 255
    windows = padded.unfold(2, 4, 1).unfold(3, 4, 1).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    seen = set()
    for _ in range(200):
        for number, crop in enumerate(batches.take(torch.tensor([0, 1]))):
            place = (windows[number] == crop).flatten(1).all(1).nonzero()
            assert len(place) == 1, "every crop is one window of its own image"
            seen.add((number, int(place)))
    assert len(seen) == 2 * 25, "all 5 x 5 positions occur"


def test_each_image_of_a_batch_has_a_crop_and_a_flip_of_its_own():
    picture = torch.arange(3 * 4 * 4, dtype=torch.uint8).reshape(1, 3, 4, 4) + 1
    same = picture.expand(200, -1, -1, -1)
    crops = Batches(same, 200, padding=2, flip=False, device=CPU, seed=0).take(torch.arange(200))
    assert len(crops.flatten(1).unique(dim=0)) == 25, "all positions in one batch"
    flips = Batches(same, 200, padding=0, flip=True, device=CPU, seed=0).take(torch.arange(200))
    assert len(flips.flatten(1).unique(dim=0)) == 2, "mirrored and not, in one batch"


def test_flips_half_of_the_images_and_nothing_else():
    images = torch.randint(0, 256, (400, 3, 4, 4), dtype=torch.uint8)
    taken = Batches(images, 400, padding=0, flip=True, device=CPU, seed=0).take(torch.arange(400))
    plain, mirrored = images.float() / 255, images.flip(3).float() / 255
    same = (taken == plain).flatten(1).all(1)
    assert bool((same | (taken == mirrored).flatten(1).all(1)).all())
    assert 150 < int(same.sum()) < 250
    assert taken.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_sees_every_image_once_in_a_new_order():
    batches = Batches(torch.zeros(12, 3, 4, 4, dtype=torch.uint8), 4, 0, False, CPU, seed=1)
    epochs = [torch.cat([index for _, index in batches.epoch()]).tolist() for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]
    again = Batches(torch.zeros(12, 3, 4, 4, dtype=torch.uint8), 4, 0, False, CPU, seed=1)
    assert torch.cat([index for _, index in again.epoch()]).tolist() == epochs[0]


def test_learning_rates_by_hand():
    cosine = Recipe(epochs=4, learning_rate=0.1)
    assert [learning_rate(cosine, epoch, 0, 10) for epoch in range(4)] == pytest.approx(
        [0.1, 0.1 * 0.8535534, 0.05, 0.1 * 0.1464466]
    )
    assert learning_rate(cosine, 1, 9, 10) == learning_rate(cosine, 1, 0, 10), "stepped per epoch"
    steps = Recipe(epochs=10, schedule="multistep", learning_rate=1.0)
    assert [learning_rate(steps, epoch, 0, 1) for epoch in (0, 4, 5, 7, 8)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )
    warm = Recipe(epochs=4, learning_rate=0.1, warmup_epochs=1)
    rates = [learning_rate(warm, 0, step, 4) for step in range(4)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08])


def test_last_and_best_epoch():
    """Trap T11: the headline is the last epoch, the best one stands beside it."""
    curves = Curves([1.0] * 3, [50.0] * 3, [43.7, 24.0, 7.3])
    assert curves.metrics() == {
        "accuracy_last": 7.3,
        "accuracy_best": 43.7,
        "accuracy_best_epoch": 1,
        "train_accuracy_last": 50.0,
    }


def test_accuracy_by_hand_in_evaluation_mode(make_images):
    data = make_images(10, 4)

    class Constant(nn.Module):
        def forward(self, images):
            assert not self.training
            return torch.eye(4)[torch.full((len(images),), 1)]

    assert (
        accuracy(logits_of(Constant().train(), data, CPU), data.labels) == 30.0
    )  # labels 0 1 2 3 0 1 2 3 0 1: three ones


def test_same_seed_same_curves_and_clean_data_untouched(make_images):
    data = make_images(64, 4)
    before = data.hash_content()
    runs = []
    for seed in (0, 0, 1):
        clock = Clock(CPU)
        recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.05)
        runs.append(train(small_model(), data, recipe, device=CPU, seed=seed, clock=clock, test=data))
        assert set(clock.seconds) == {"warmup", "train", "evaluate"}
    assert runs[0] == runs[1] and runs[0] != runs[2]
    assert data.hash_content() == before


def test_steps_of_sgd_by_hand(make_images):
    """Three steps on all images at once: smoothed labels, weight decay, momentum."""
    data, model = make_images(12, 4, size=4), small_model()
    layer, pixels = model[2], data.images.flatten(1) / 255
    nn.init.zeros_(layer.bias)
    weights, bias = layer.weight.detach().clone(), torch.zeros(4)
    goal = 0.8 * nn.functional.one_hot(data.labels, 4) + 0.2 / 4
    pushes = [torch.zeros(4, 48), torch.zeros(4)]
    for _ in range(3):
        wrong = ((pixels @ weights.T + bias).softmax(1) - goal) / 12
        slopes = (wrong.T @ pixels + 0.02 * weights, wrong.sum(0) + 0.02 * bias)
        pushes = [0.9 * push + slope for push, slope in zip(pushes, slopes, strict=True)]
        weights, bias = weights - 0.5 * pushes[0], bias - 0.5 * pushes[1]
    recipe = Recipe(
        epochs=3,
        batch_size=12,
        learning_rate=0.5,
        momentum=0.9,
        weight_decay=0.02,
        label_smoothing=0.2,
        schedule="constant",
        crop_padding=0,
        flip=False,
    )
    train(model, data, recipe, device=CPU, seed=0)
    assert torch.allclose(layer.weight.detach(), weights, atol=1e-6)
    assert torch.allclose(layer.bias.detach(), bias, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_with_advice(make_images):
    data, model = make_images(16, 4), small_model()
    nn.init.constant_(model[2].weight, torch.nan)
    with pytest.raises(TrainingError, match=r"epoch 1: lower recipe\.learning_rate"):
        train(model, data, Recipe(epochs=1), device=CPU, seed=0, clock=Clock(CPU))


@dataclasses.dataclass(frozen=True)
class Spy(Defense):
    """Writes down what it is given."""

    seen: list = dataclasses.field(default_factory=list)

    def fit_once(self, images, labels, generator):
        self.seen.append(("fit", labels.dtype, len(labels)))
        return self.images_once(images)

    def images_once(self, images):
        self.seen.append(("once", images.dtype, len(images)))
        return 255 - images

    def batch(self, images, targets, generator):
        self.seen.append(("batch", float(images.max()), tuple(targets.shape)))
        return images * 0, targets

    def attack(self, model, images, targets, generator):
        self.seen.append(("attack", float(images.max()), tuple(targets.shape)))
        return images

    def loss(self, model, images, targets, cross_entropy, generator):
        self.seen.append(("loss", float(images.max()), model.training))
        return super().loss(model, images, targets, cross_entropy, generator)

    def in_epoch(self, epoch, epochs):
        self.seen.append(("epoch", epoch, epochs))
        return self


def test_a_hacker_who_holds_images_out_stops_where_they_are_best(make_images):
    """The accuracies of that epoch take the place of the last one's; the best on test images stays beside them."""
    curves = Curves([3.0, 2.0, 1.0], [50.0, 80.0, 99.0], [40.0, 60.0, 30.0], [20.0, 15.0, 10.0])
    found = curves.metrics()
    assert (
        found["accuracy_last"] == 40.0
        and found["train_accuracy_last"] == 50.0
        and found["stopped_epoch"] == 1
    )
    assert found["accuracy_best"] == 60.0 and found["accuracy_best_epoch"] == 2
    assert Curves([1.0], [9.0], [40.0]).metrics().keys() == found.keys() - {"stopped_epoch"}
    data, clean = make_images(16, 4), make_images(8, 4, seed=1)
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.01)
    made = train(small_model(), data, recipe, device=CPU, seed=0, test=clean, validation=clean)
    assert made.validation_accuracy == made.test_accuracy and len(made.test_accuracy) == 2
    plain = train(small_model(), data, recipe, device=CPU, seed=0, test=clean)
    assert plain.test_accuracy == made.test_accuracy and plain.validation_accuracy == []


def test_defenses_act_in_order_and_never_on_test_data(make_images):
    data = make_images(16, 4)
    test, spy = make_images(8, 4, seed=1), Spy()
    before = test.hash_content()
    recipe = Recipe(epochs=1, batch_size=16, crop_padding=0)
    clock = Clock(CPU)
    train(small_model(), data, recipe, device=CPU, seed=0, clock=clock, test=test, defense=spy)
    fit, once, epoch, batch, attack, loss = spy.seen
    assert [entry[0] for entry in spy.seen] == ["fit", "once", "epoch", "batch", "attack", "loss"]
    assert fit[1:] == (torch.int64, 16) and once[1:] == (torch.uint8, 16) and epoch[1:] == (0, 1)
    assert batch[2] == (16, 4)
    assert attack[1] == 0.0, "attack sees what batch made"
    assert loss[1:] == (0.0, True)
    assert "fit" in clock.seconds, "what a defense learns before training is timed by itself"
    assert test.hash_content() == before


def test_training_without_labels_is_an_error():
    with pytest.raises(TrainingError, match="needs labels"):
        images = ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
        train(small_model(), images, Recipe(epochs=1), device=CPU, seed=0, clock=Clock(CPU))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sdg"},
        {"schedule": "cosin"},
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1e-4},
        {"warmup_epochs": -1.0},
        {"crop_padding": -1},
        {"gradient_clip": -1.0},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"label_smoothing": 1.0},
        {"label_smoothing": float("nan")},
    ],
)
def test_bad_recipes_are_named(changes):
    with pytest.raises(ConfigError):
        Recipe(**changes)


def test_nested_phases_are_not_counted_twice(monkeypatch):
    """Rule 7: an inner phase's time is not the outer's; hand-set clock."""
    clock, times = Clock(CPU), iter([(0, 0), (2, 20), (5, 50), (9, 90)])
    monkeypatch.setattr(clock, "_now", lambda: next(times))
    with clock.phase("protect"), clock.phase("warmup"):
        pass
    assert clock.seconds == {"warmup": 3, "protect": 6}
    assert clock.device_seconds == {"warmup": 30, "protect": 60}


def test_clock_synchronises_at_both_ends(monkeypatch):
    calls = []
    monkeypatch.setattr("ue_bench.clock.synchronise", lambda device: calls.append("sync"))
    with Clock(CPU).phase("train"):
        calls.append("work")
    assert calls == ["sync", "work", "sync"]
