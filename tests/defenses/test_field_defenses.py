"""COIN, the frequency filter, changes of colour and TRADES, by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ue_bench.defenses import frequency_filter
from ue_bench.defenses.channel_normalisation import ChannelNormalisation
from ue_bench.defenses.coin import Coin, moved
from ue_bench.defenses.colour_shift import ColourShift
from ue_bench.defenses.frequency_filter import FrequencyFilter, low_pass, sharpened
from ue_bench.defenses.histogram_equalisation import HistogramEqualisation
from ue_bench.defenses.trades import Trades


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(rows: list[list[float]]) -> torch.Tensor:
    values = torch.tensor(rows) / 255
    return values.expand(1, 3, *values.shape)


# COIN


def test_a_move_by_hand():
    """Half a pixel down and a quarter to the right; what leaves at the lower right comes back at the upper left."""
    image = grid([[0.0, 40.0], [80.0, 200.0]])
    shown = moved(image, torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 0.25))[0, 1] * 255
    corner = 0.5 * (0.75 * 0 + 0.25 * 40) + 0.5 * (0.75 * 80 + 0.25 * 200)
    last = 0.5 * (0.75 * 200 + 0.25 * 80) + 0.5 * (0.75 * 40 + 0.25 * 0)
    assert float(shown[0, 0]) == pytest.approx(corner) and float(shown[1, 1]) == pytest.approx(last)
    still = torch.zeros(1, 2, 2)
    assert torch.allclose(moved(image, still, still), image)
    assert torch.allclose(moved(image, still - 1, still)[0, 0, 0], image[0, 0, 1]), (
        "the row above the first is the last"
    )
    left = moved(image, still, still - 1)[0, 0, :, 0]
    assert torch.allclose(left, image[0, 0, :, 1]), "the column before the first is the last"


def test_coin_moves_every_pixel_by_itself_and_all_colours_alike():
    ramp = torch.linspace(0, 1, 32).expand(200, 3, 32, 32)
    shown, _ = Coin().batch(ramp, torch.ones(200, 1), dice())
    inside = (shown - ramp)[..., 3:-3] * 31
    assert torch.equal(shown[:, 0], shown[:, 2])
    assert 1.9 < float(inside.abs().max()) < 2.15 and abs(float(inside.std()) - 2 / math.sqrt(3)) < 0.05
    assert abs(float((inside[:, 0, 1:] * inside[:, 0, :-1]).mean())) < 0.02, "neighbours move by themselves"
    again, _ = Coin().batch(ramp, torch.ones(200, 1), dice())
    assert torch.equal(shown, again)
    assert torch.allclose(shown * 255, (shown * 255).round(), atol=1e-4), "8 bits"


# Sharpening and low-pass filter


def test_sharpening_by_hand():
    """2.5 times the centre, minus 0.375 times each direct neighbour; a flat picture stays."""
    image = grid([[0.0, 40.0, 0.0], [20.0, 100.0, 60.0], [0.0, 80.0, 0.0]])
    kernels = FrequencyFilter("static")._kernels(1, dice())
    assert kernels[0].tolist() == [[0, -0.375, 0], [-0.375, 2.5, -0.375], [0, -0.375, 0]]
    shown = sharpened(image, kernels)[0] * 255
    assert float(shown[0, 1, 1]) == pytest.approx(2.5 * 100 - 0.375 * 200, abs=1e-3)
    assert float(shown[2, 0, 1]) == pytest.approx(max(0.0, 2.5 * 40 - 0.375 * (40 + 0 + 0 + 100)), abs=1e-3)
    flat = torch.full((2, 3, 4, 4), 0.6)
    assert torch.allclose(sharpened(flat, FrequencyFilter("static")._kernels(2, dice())), flat)


def test_random_kernels_have_the_papers_means_and_spread():
    kernels = FrequencyFilter()._kernels(20000, dice())
    centre, left = kernels[:, 1, 1], kernels[:, 1, 0]
    assert float(centre.mean()) == pytest.approx(2.5, abs=0.01) and float(centre.std()) == pytest.approx(
        0.1, rel=0.05
    )
    own = left + (centre - 1) / 4
    assert float(own.std()) == pytest.approx(0.1, rel=0.05) and abs(float(own.mean())) < 0.005
    assert not kernels[:, 0, 0].any() and not torch.equal(left, kernels[:, 1, 2])
    images = torch.rand((2, 3, 6, 6), generator=dice())
    apart = torch.stack([sharpened(images[n : n + 1], kernels[n : n + 1])[0] for n in range(2)])
    assert torch.allclose(sharpened(images, kernels[:2]), apart, atol=1e-6), "each image has its own kernel"


def test_low_frequencies_stay_and_high_ones_go():
    """A cosine below the limit passes whole, one above is gone, and the mean stays; 9 of 32 frequencies are kept."""
    place = torch.arange(32) + 0.5

    def wave(frequency: int) -> torch.Tensor:
        return (0.5 + 0.4 * (math.pi * frequency * place / 32).cos()).expand(1, 3, 32, 32)

    assert torch.allclose(low_pass(wave(8), 0.3), wave(8), atol=1e-5)
    assert torch.allclose(low_pass(wave(9), 0.3), torch.full((1, 3, 32, 32), 0.5), atol=1e-5)
    upright = wave(9).transpose(2, 3)
    assert torch.allclose(low_pass(upright, 0.3), torch.full((1, 3, 32, 32), 0.5), atol=1e-5)
    wide = torch.rand((2, 3, 10, 20), generator=dice())
    assert torch.allclose(low_pass(wide, 1.0), wide, atol=1e-5) and low_pass(wide, 0.05).shape == wide.shape
    assert float(low_pass(wide, 0.05)[0, 0].std()) < 1e-5, "of few frequencies the mean is kept"


def test_the_filter_sharpens_first(monkeypatch):
    order = []
    for name in ("sharpened", "low_pass"):
        real = getattr(frequency_filter, name)
        monkeypatch.setattr(frequency_filter, name, lambda *x, n=name, f=real: order.append(n) or f(*x))
    images, targets = torch.rand((4, 3, 12, 12), generator=dice()), torch.eye(4)
    for defense in (FrequencyFilter(), FrequencyFilter("none"), FrequencyFilter("static", kept=1.0)):
        shown, goals = defense.batch(images, targets, dice())
        assert shown.shape == images.shape and goals is targets
    assert order == ["sharpened", "low_pass", "low_pass", "sharpened"]


# Colour


def test_channel_normalisation_by_hand():
    """Of -1 and 1 in each channel after normalising, 0 and 255; a constant channel is in the middle."""
    image = torch.tensor([[[10, 30]], [[200, 220]], [[77, 77]]], dtype=torch.uint8)[None]
    assert ChannelNormalisation().images_once(image)[0, :, 0].tolist() == [[0, 255], [0, 255], [128, 128]]
    images = torch.randint(60, 180, (5, 3, 8, 8), generator=dice(), dtype=torch.uint8)
    tint = torch.tensor([20, 0, 50], dtype=torch.uint8).view(3, 1, 1)
    normal = ChannelNormalisation().images_once
    assert torch.equal(normal(images), normal(images + tint)), "a tint of the whole picture is gone"


def test_equalisation_spreads_levels():
    levels = torch.arange(100, 164, dtype=torch.uint8).repeat_interleave(16)
    image = levels.view(1, 1, 32, 32).expand(1, 3, 32, 32)
    shown = HistogramEqualisation().images_once(image)[0, 0].flatten()[::16].int()
    assert int(shown[0]) < 5 and int(shown[-1]) == 255 and bool((shown.diff()[:40] >= 4).all())


def test_colour_shift_is_one_number_for_each_channel():
    images = torch.full((500, 3, 4, 4), 0.5)
    shown, _ = ColourShift().batch(images, torch.ones(500, 1), dice())
    shift = (shown - images) * 255
    assert float(shift.std(dim=(2, 3)).max()) < 1e-4 and not torch.equal(shift[:, 0], shift[:, 1])
    assert 24 < float(shift.abs().max()) <= 25.5 + 1e-3 and abs(float(shift.mean())) < 1.5
    edge, _ = ColourShift(reach=255).batch(torch.ones(50, 3, 2, 2), torch.ones(50, 1), dice())
    assert float(edge.max()) == 1.0 and float(edge.min()) >= 0


# TRADES


class Slope(nn.Module):
    """Two logits: the slope times the sum of the pixels, and zero."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        first = self.slope * images.sum(dim=(1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_trades_by_hand():
    """The divergence of one image of one pixel, whose prediction moves most where the sum falls by 3 x 8/255."""
    image, model = torch.full((1, 3, 1, 1), 0.5), Slope()
    value, logits = Trades(start=0.255).loss(model, image, torch.eye(2)[:1], cross_entropy, dice())

    def share(total: float) -> float:
        return 1 / (1 + math.exp(-2 * total))

    calm = share(1.5)
    moves = [share(1.5 + sign * 3 * 8 / 255) for sign in (-1, 1)]
    apart = max(calm * math.log(calm / q) + (1 - calm) * math.log((1 - calm) / (1 - q)) for q in moves)
    assert float(logits[0, 0].detach()) == 3.0
    assert float(value.detach()) == pytest.approx(-math.log(calm) + 6 * apart, rel=0.03)
    plain, _ = Trades(balance=0).loss(model, image, torch.eye(2)[:1], cross_entropy, dice())
    assert float(plain.detach()) == pytest.approx(-math.log(calm), rel=1e-5)


def test_trades_leaves_the_model_as_it_was_and_both_images_teach_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3)).train()
    images, targets = torch.rand((6, 3, 8, 8), generator=dice()), torch.eye(3).repeat(2, 1)
    before = copy.deepcopy(dict(model.named_parameters()))
    value, _ = Trades(steps=3).loss(model, images, targets, cross_entropy, dice())
    assert model.training and all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert int(model[1].num_batches_tracked) == 2, "batch statistics of the images and of those nearby only"
    value.backward()
    assert all(p.grad is not None for p in model.parameters())
