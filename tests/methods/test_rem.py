"""REM and SEM: moves and their transpose, a search against a linear surrogate by hand, what makes SEM cheaper."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_context
from learnable import blots, protect
from torch import nn

from ue_bench import ImageSet, ProtectorView
from ue_bench.crafting.resident import ResidentImages
from ue_bench.errors import TrainingError
from ue_bench_methods._rem.moves import Moves
from ue_bench_methods.rem import REM, _Search

TINY = {"surrogate": "resnet_tiny", "batch_size": 64, "draws": 1, "attack_steps": 2, "attack_step_size": 4.0}


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_moves_by_hand():
    """Mirrored first, then the window one down and two to the left of the middle; black comes in from outside."""
    image = torch.arange(1.0, 10.0).view(1, 1, 3, 3).expand(1, 3, 3, 3)
    moves = Moves(torch.tensor([True]), torch.tensor([3]), torch.tensor([0]), padding=2)
    assert moves(image)[0, 0].tolist() == [[0, 0, 6], [0, 0, 9], [0, 0, 0]]
    assert moves.back(image)[0, 0].tolist() == [[0, 0, 0], [0, 0, 3], [0, 0, 6]]


def test_the_way_back_is_the_transpose():
    """<T x, g> = <x, T' g>, which is what autograd would give."""
    images, gradient = (torch.rand((50, 3, 9, 7), generator=dice(seed)) for seed in (0, 1))
    for padding, flip in ((4, True), (2, False), (0, True), (0, False)):
        moves = Moves.draw(50, padding, flip, dice(2))
        left = (moves(images) * gradient).flatten(1).sum(1)
        right = (images * moves.back(gradient)).flatten(1).sum(1)
        assert torch.allclose(left, right, atol=1e-4)
    assert torch.equal(moves(images), images), "neither flips nor crops"


def test_each_image_draws_its_own_move():
    moves = Moves.draw(2000, 4, True, dice())
    assert set(moves.down.tolist()) == set(moves.right.tolist()) == set(range(9))
    assert 900 < int(moves.mirrored.sum()) < 1100
    assert not torch.equal(moves.down, moves.right)


class Linear(nn.Module):
    """Two logits: a weighted sum of the pixels, and zero. Writes down what it sees."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1)), []

    def forward(self, images):
        self.seen.append((images.detach().clone(), self.training))
        first = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def search(method: REM, images: torch.Tensor, labels: list[int]) -> _Search:
    return _Search(method, ResidentImages(images, torch.device("cpu")), torch.tensor(labels), fresh_context())


PLAIN = {"crop_padding": 0, "flip": False}


@pytest.mark.parametrize("stable", [False, True])
def test_noise_against_a_linear_surrogate_by_hand(stable):
    """Of class 0, noise raises the first logit: up where weights are positive. Ten steps of 1.6 reach the bound."""
    images = torch.full((2, 3, 2, 2), 128, dtype=torch.uint8)
    model = Linear().train()
    found = search(REM(stable=stable, **PLAIN), images, [0, 1]).noise(model, slice(0, 2)) * 255
    wanted = 8 * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1).expand(3, 2, 2)
    assert torch.allclose(found[0], wanted, atol=1e-4) and torch.allclose(found[1], -wanted, atol=1e-4)
    assert model.training and not any(training for _, training in model.seen), "evaluation mode meanwhile"
    assert model.weight.grad is None and model.weight.requires_grad


def test_the_inner_attack_by_hand():
    """It starts within 4/255 of the noisy image, goes 0.8 a step, and ends where the loss is highest: at the bound."""
    images = torch.full((1, 3, 1, 1), 128, dtype=torch.uint8)
    model = Linear()
    one = search(REM(noise_steps=1, draws=1, **PLAIN), images, [0])
    one.noise(model, slice(0, 1))
    assert len(model.seen) == 11, "ten steps of the attack, one gradient of the noise"
    noisy = torch.full((1, 3, 1, 1), 128 / 255) + one_start(one, images)
    away = [255 * (shown - noisy).flatten() for shown, _ in model.seen]
    assert float(away[0].abs().max()) <= 4 and float(away[0].abs().min()) > 0, "a random start"
    step = away[1] - away[0]
    assert (
        torch.allclose(step, 0.8 * torch.tensor([-1.0, 1.0, -1.0]), atol=1e-3)
        or float(away[1].abs().max()) >= 3.99
    )
    assert torch.allclose(away[-1], 4 * torch.tensor([-1.0, 1.0, -1.0]), atol=1e-3)


def one_start(one: _Search, images: torch.Tensor) -> torch.Tensor:
    """The random noise that the search began with."""
    again = torch.Generator().manual_seed(one.context.seed)
    wanted = torch.empty(images.shape).contiguous(memory_format=torch.channels_last)  # the order of the draws
    return wanted.uniform_(-8 / 255, 8 / 255, generator=again)


def test_stable_noise_needs_no_attack():
    images = torch.full((4, 3, 2, 2), 128, dtype=torch.uint8)
    counts = {}
    for stable in (False, True):
        model = Linear()
        search(REM(stable=stable, **PLAIN), images, [0, 1, 0, 1]).noise(model, slice(0, 4))
        counts[stable] = len(model.seen)
    assert counts == {False: 10 * 5 * 11, True: 10 * 5}
    drawn = torch.stack([shown for shown, _ in model.seen[:5]])
    assert drawn.std(dim=0).mean() > 1 / 255, "random noise of its own in each draw"
    plain = Linear()
    search(REM(robust_radius=0, **PLAIN), images, [0, 1, 0, 1]).noise(plain, slice(0, 4))
    assert len(plain.seen) == 50, "without a radius there is nothing to attack"


def test_a_pixel_that_cannot_show_its_noise_stays():
    """Black pixels whose noise starts below zero, and white ones whose noise starts above, get no gradient."""
    images = torch.zeros((1, 3, 8, 8), dtype=torch.uint8)
    images[:, :, 4:] = 255
    one = search(REM(noise_steps=1, draws=1, **PLAIN), images, [0])
    moved = one.noise(Linear(), slice(0, 1)) - one_start(one, images)
    start = one_start(one, images)
    hidden = torch.cat([start[:, :, :4] < 0, start[:, :, 4:] > 0], dim=2)
    assert not moved[hidden].any() and bool((moved[~hidden] != 0).all())


def test_noise_survives_flips_and_crops_on_average():
    """With draws of crops, noise at the border, which is often cut away, is still made from many draws."""
    images = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    wide = search(REM(draws=20, noise_steps=10), images, [0]).noise(Linear(), slice(0, 1)) * 255
    assert torch.allclose(wide[0, 0, 3:5, 3:5], torch.full((2, 2), 8.0), atol=1e-4)


class OnePixel(nn.Module):
    """Two logits: the red value of one pixel, and zero."""

    def forward(self, images):
        first = images[:, 0, 4, 4]
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_noise_goes_where_a_crop_may_have_come_from():
    """A surrogate that looks at one pixel is shown its eight neighbours, too, when crops shift by one."""
    images = torch.full((1, 3, 8, 8), 128, dtype=torch.uint8)
    method = REM(crop_padding=1, flip=False, robust_radius=0, draws=1, noise_steps=200)
    one = search(method, images, [0])
    found, start = one.noise(OnePixel(), slice(0, 1)) * 255, one_start(one, images) * 255
    assert torch.allclose(found[0, 0, 3:6, 3:6], torch.full((3, 3), 8.0), atol=1e-4)
    found[0, 0, 3:6, 3:6] = start[0, 0, 3:6, 3:6]
    assert torch.allclose(found, start, atol=1e-4), "all others are as they were drawn"


def rates(method: REM, data: ImageSet, monkeypatch) -> list[float]:
    seen: list[float] = []
    monkeypatch.setattr(
        "ue_bench_methods.rem.training_step",
        lambda model, optimizer, loss, clip: seen.append(optimizer.param_groups[0]["lr"]),
    )
    protect(method, data)
    return seen


def test_the_learning_rate_falls_after_two_and_four_fifths(monkeypatch):
    method = REM(training_steps=10, noise_steps=1, **TINY)
    seen = rates(method, blots(), monkeypatch)
    assert seen == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001] * 2)


def test_the_search_lowers_the_robust_loss_and_fills_the_budget():
    method = REM(training_steps=50, noise_steps=3, step_size=5.3, **PLAIN, **TINY)
    run = protect(method, blots())
    notes = run.context.notes
    assert notes["surrogate_last_loss"] < 0.7 * notes["surrogate_first_loss"]
    noise = run.noise.noise
    assert noise.dtype == torch.int8 and int(noise.abs().max()) == 8
    assert float((noise > 0).float().mean()) > 0.3 and float((noise < 0).float().mean()) > 0.3
    shown = (run.data.images.short() + noise).clamp(0, 255) / 255 - 0.5
    with torch.no_grad():
        right = (run.surrogate.eval()(shown).argmax(1) == run.data.labels).float().mean()
        before = (run.surrogate(run.data.images / 255 - 0.5).argmax(1) == run.data.labels).float().mean()
    assert float(right) > 0.9 > float(before) and notes["surrogate_error_percent"] == pytest.approx(
        100 * (1 - float(right))
    )


def test_labels_decide_the_noise():
    data = blots()
    other = ImageSet(data.images, data.labels.flip(0), None, data.class_names)
    method = REM(training_steps=2, noise_steps=2, **TINY)
    one, two = (protect(method, each).noise.noise for each in (data, other))
    assert not torch.equal(one, two)


def test_a_surrogate_that_diverges_is_named():
    with pytest.raises(
        TrainingError, match=r"rem's surrogate 'resnet_tiny' diverged in step \d+: lower learning_rate"
    ):
        protect(REM(training_steps=20, noise_steps=1, learning_rate=1e12, **TINY), blots())


def test_sem_stands_in_tables_under_its_own_name():
    assert REM().published_as("supervised") == ("REM",)
    assert REM(stable=True).published_as("supervised") == ("SEM",)
    assert ProtectorView(blots(), REM().access).classes == 4
