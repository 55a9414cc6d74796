"""GUE: the leader's payoff and a step of the game by hand, the network's form, and what the game ends in."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import fresh_context
from learnable import pictures, protect
from torch import nn
from torch.nn import functional

from ue_bench import ImageSet, ProtectorView
from ue_bench.errors import ConfigError, TrainingError
from ue_bench_methods._gue.game import Game, worst_wrong
from ue_bench_methods._gue.unet import UNet, enlarged, seeded_unet
from ue_bench_methods.gue import GUE


def test_the_leaders_payoff_is_the_worst_wrong_class():
    """As the code loops over classes: of logits 0, log 2, log 4 the cross-entropies are log 7, log 3.5, log 1.75."""
    logits = torch.tensor([[1.0, 2.0, 4.0]]).log().repeat(3, 1)
    labels = torch.tensor([0, 1, 2])
    wanted = [math.log(3.5), math.log(7), math.log(7)]
    for label, value in zip(labels, wanted, strict=True):
        assert float(worst_wrong(logits[:1], label[None])) == pytest.approx(value)
    torch.manual_seed(0)
    drawn, own = torch.randn(9, 5), torch.arange(9) % 5
    each = [functional.cross_entropy(drawn, (own + i) % 5, reduction="none") for i in range(1, 5)]
    assert float(worst_wrong(drawn, own)) == pytest.approx(float(torch.stack(each).amax(0).mean()))


class OneWeight(nn.Module):
    """Logits (w s, 0) of the sum s of an image's values."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, images):
        first = self.weight * images.sum(dim=(1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], 1)


class Level(nn.Module):
    """The same noise everywhere: one learned number."""

    def __init__(self, level: float):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, images):
        return self.level.expand(images.shape)


def game(level: float, weight: float, eta: float, inner_steps: int) -> Game:
    noise, model = Level(level), OneWeight(weight)
    optimizers = [torch.optim.SGD(part.parameters(), lr=rate) for part, rate in ((noise, 0.1), (model, 0.01))]
    return Game(noise, model, *optimizers, radius=0.1, eta=eta, inner_steps=inner_steps, inner_rate=0.5)


def probability(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("eta", [1.5, 0.1])
def test_a_step_by_hand(eta):
    """One image of class 0 and sum 1.2, noise a in 12 values of 0.1: the follower's loss is -log p(w (1.2 + 1.2 a)).

    Adam's first step is its rate, so the copy's weight is w + 0.5. The leader's payoff is -log(1 - p(1.2 w)).
    """
    played = game(0.25, 2.0, eta, inner_steps=1)
    seen, best, w = 1.2 + 1.2 * 0.25, 2.5, 2.0
    by_weight = -(1 - probability(w * seen)) * seen
    by_noise = -(1 - probability(w * seen)) * w * 1.2 + (1 - probability(best * seen)) * best * 1.2
    by_leader = probability(1.2 * w) * 1.2
    square = by_weight**2 + by_noise**2
    multiplier = max(0.0, (eta * square - by_leader * by_weight) / (square + 1e-8))
    assert multiplier > 0
    found = played.step(torch.full((1, 3, 2, 2), 0.1), torch.tensor([0]))
    assert found["multiplier"] == pytest.approx(multiplier, rel=1e-4)
    assert found["leader"] == pytest.approx(-math.log(1 - probability(1.2 * w)), rel=1e-5)
    assert found["follower"] == pytest.approx(-math.log(probability(w * seen)), rel=1e-5)
    assert found["gap"] == pytest.approx(
        -math.log(probability(w * seen)) + math.log(probability(best * seen)), rel=1e-4
    )
    assert float(played.noise.level.detach()) == pytest.approx(0.25 - 0.1 * multiplier * by_noise, rel=1e-5)
    assert float(played.classifier.weight.detach()) == pytest.approx(
        2.0 - 0.01 * (by_leader + multiplier * by_weight), rel=1e-5
    )


def test_a_multiplier_is_never_negative(monkeypatch):
    """Noise of -2 in every value turns the sum round: both want a lower weight, and nothing needs to be enforced."""
    played = game(-2.0, 2.0, 1e-3, inner_steps=1)
    images = torch.full((1, 3, 2, 2), 0.1)
    # Unclipped, or black pixels would hide it.
    monkeypatch.setattr(Game, "shown", lambda self, images: images + 0.1 * self.noise(images))
    found = played.step(images, torch.tensor([0]))
    assert found["multiplier"] == 0 and float(played.noise.level.detach()) == -2
    by_leader = probability(2.4) * 1.2
    assert float(played.classifier.weight.detach()) == pytest.approx(2 - 0.01 * by_leader)


def test_pixels_are_cut_before_the_classifier_sees_them():
    played = game(1.0, 1.0, 1.5, inner_steps=1)
    shown = played.shown(torch.tensor([0.95, 0.5]).view(2, 1, 1, 1).expand(2, 3, 2, 2))
    assert shown[:, 0, 0, 0].tolist() == pytest.approx([1.0, 0.6])


def test_the_copy_takes_adams_steps_and_leaves_the_classifier():
    played = game(0.0, 2.0, 1.5, inner_steps=3)
    copy = played._followed(torch.full((1, 3, 2, 2), 0.1), torch.tensor([0]))
    assert 2.9 < float(copy.weight) < 3.5 and not copy.weight.requires_grad
    assert float(played.classifier.weight.detach()) == 2.0 and played.classifier.weight.grad is None


def test_the_network_has_the_papers_form():
    network = UNet()
    widths = [
        [m.out_channels for m in part.modules() if isinstance(m, nn.Conv2d)]
        for part in (network.down, network.up)
    ]
    assert widths == [[64, 64, 128, 128, 256, 256, 512, 512], [256, 256, 128, 128, 64, 64]]
    assert [block[0].in_channels for block in network.up] == [768, 384, 192]
    small = seeded_unet(4, 0, torch.device("cpu"))
    for size in ((8, 8), (16, 24), (11, 13)):
        made = small(torch.rand(2, 3, *size))
        assert made.shape == (2, 3, *size) and float(made.detach().abs().max()) <= 1
    with pytest.raises(ConfigError, match="too small"):
        small(torch.rand(2, 3, 7, 9))


def test_enlarging_keeps_corners():
    found = enlarged(torch.tensor([[0.0, 2.0], [4.0, 6.0]]).view(1, 1, 2, 2), 3, 5)
    wanted = [[0, 0.5, 1, 1.5, 2], [2, 2.5, 3, 3.5, 4], [4, 4.5, 5, 5.5, 6]]
    torch.testing.assert_close(found[0, 0], torch.tensor(wanted))


@pytest.fixture(scope="module")
def made():
    settings = {"width": 4, "epochs": 30, "batch_size": 40, "inner_steps": 5, "inner_learning_rate": 1e-3}
    return protect(GUE(**settings), pictures(), fresh_context(build=small))


def small(name, classes, image_size, seed, parameters=None, start="own"):
    """Two convolutions and a linear layer."""
    torch.manual_seed(seed)
    layers = []
    for inputs, outputs in ((3, 8), (8, 16)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(image_size[0] * image_size[1], classes))


def test_the_classifier_reads_noisy_images_and_not_clean_ones(made):
    notes = made.context.notes
    assert notes["surrogate_accuracy_percent"] > notes["surrogate_clean_accuracy_percent"] + 30
    assert notes["surrogate_accuracy_percent"] == pytest.approx(made.accuracy(protected=True))
    assert notes["surrogate_clean_accuracy_percent"] == pytest.approx(made.accuracy(protected=False))
    assert len(notes["leader_by_epoch"]) == len(notes["multiplier_by_epoch"]) == 30
    assert notes["follower_by_epoch"][-1] < notes["follower_by_epoch"][0]


def test_noise_follows_the_image_alone(made):
    """The network runs in evaluation mode: the same images in other batches have the same noise."""
    noise = made.noise.noise
    assert noise.dtype == torch.int8 and len(noise.unique(dim=0)) == 240
    assert 4 <= int(noise.abs().max()) <= 8


def test_a_game_that_diverges_is_named_and_one_class_refused():
    with pytest.raises(TrainingError, match=r"diverged in epoch 1: lower gue.learning_rate"):
        method = GUE(width=4, epochs=1, batch_size=40, learning_rate=1e30)
        protect(method, pictures(80), fresh_context(build=small))
    one = ImageSet(pictures(4).images, torch.zeros(4, dtype=torch.int64), None, ("a",))
    with pytest.raises(ConfigError, match="two classes"):
        GUE().protect(ProtectorView(one, GUE.access, "supervised", "gue"), fresh_context())
