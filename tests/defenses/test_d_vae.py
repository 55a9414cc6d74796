"""D-VAE: its loss and limits by hand, what each stage hands on."""

from __future__ import annotations

import math

import pytest
import torch

from ue_bench.defenses import d_vae
from ue_bench.defenses._dvae import DisentanglingVAE, Parts, divergence, loss_of
from ue_bench.defenses.d_vae import DVAE
from ue_bench.errors import ConfigError

SMALL = {"epochs": 1, "width": 4, "batch_size": 8}


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_divergence_by_hand():
    """Two channels of mean 1 and 0, standard deviation 1 and 2: 1/2 and (4 - 1 - log 4) / 2, at every place."""
    mean = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(3, 2, 4, 4)
    log_variance = torch.tensor([0.0, math.log(4)]).view(1, 2, 1, 1).expand(3, 2, 4, 4)
    assert float(divergence(mean, log_variance)) == pytest.approx(0.5 + (3 - math.log(4)) / 2)


def parts(rate: float, image: float = 0.5, noise: float = 0.1) -> Parts:
    full = torch.full((1, 3, 2, 2), image)
    return Parts(full, torch.full_like(full, noise), torch.tensor(rate, requires_grad=True))


def test_the_loss_by_hand():
    """Image 0.5 and noise 0.1 of 0.7: squares 0.04 and 0.01; the rate above and below its limit; the noise's square."""
    images = torch.full((1, 3, 2, 2), 0.7)
    assert float(loss_of(parts(5.0), images, 3.0, None).detach()) == pytest.approx(0.04 + 0.01 + 0.01 * 5)
    assert float(loss_of(parts(2.0), images, 3.0, None).detach()) == pytest.approx(0.05 + 0.01 * 3)
    assert float(loss_of(parts(2.0), images, 0.5, None).detach()) == pytest.approx(0.05 + 0.5 * 2)
    assert float(loss_of(parts(1.0), images, 1.0, 0.002).detach()) == pytest.approx(0.05 + 0.01 + 0.01)
    assert float(loss_of(parts(1.0, noise=0.01), images, 1.0, 0.002).detach()) == pytest.approx(
        0.04 + 0.19**2 + 0.01 + 0.002
    )
    assert float(loss_of(parts(0.0, 0.9, 0.5), images, 1.0, None).detach()) == pytest.approx(
        0.04 + 0.09 + 0.01
    )


def test_below_its_limit_the_rate_has_no_gradient():
    images = torch.full((1, 3, 2, 2), 0.7)
    for rate, wanted in ((0.9, 0.0), (1.1, 0.01)):
        made = parts(rate)
        (slope,) = torch.autograd.grad(loss_of(made, images, 1.0, None), made.rate)
        assert float(slope) == pytest.approx(wanted)


def test_the_network_has_the_papers_forms():
    torch.manual_seed(0)
    model = DisentanglingVAE(5, (32, 24), 64)
    assert model.classes.shape == (5, 128, 16, 12) and model.mean.out_channels == 256
    made = model(torch.rand(2, 3, 32, 24), torch.tensor([0, 4]), dice())
    assert made.image.shape == made.noise.shape == (2, 3, 32, 24) and made.rate.shape == ()
    assert float(made.image.detach().min()) >= 0 and float(made.image.detach().max()) <= 1
    assert sum(p.numel() for p in model.encoder.parameters()) == 1_728 + 128 + 2 * 73_984 + 230_144


class Fake(torch.nn.Module):
    """Finds noise of 10/255 for class 1 and none for class 0, and reconstructs a picture a level darker."""

    def forward(self, images, labels, generator):
        noise = (10 / 255) * labels.view(-1, 1, 1, 1) * torch.ones_like(images)
        return Parts(images - 1.5 / 255, noise, torch.zeros(()))


def test_what_each_stage_hands_on(monkeypatch):
    """Noise is subtracted twice, then the reconstruction is cut off to 8 bits."""
    seen = []

    def trained(self, images, labels, rate, generator):
        seen.append((rate, float(images[1].mean() * 255)))
        return Fake()

    monkeypatch.setattr(DVAE, "_trained", trained)
    images = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    found = DVAE().fit_once(images, torch.tensor([0, 1]), dice())
    assert [(rate, round(mean)) for rate, mean in seen] == [(1.0, 100), (3.0, 90)]
    assert (
        found.dtype == torch.uint8
        and found[0].unique().tolist() == [98]
        and found[1].unique().tolist() == [78]
    )


def test_it_is_seeded_draws_nothing_else_and_takes_even_sides():
    images = torch.randint(0, 256, (24, 3, 8, 8), generator=dice(), dtype=torch.uint8)
    labels, state = torch.arange(24) % 3, torch.get_rng_state()
    one, again, other = (DVAE(**SMALL).fit_once(images, labels, dice(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, again) and not torch.equal(one, other) and one.shape == images.shape
    with pytest.raises(ConfigError, match="even sides, not 7 x 8"):
        DVAE(**SMALL).fit_once(images[:, :, 1:], labels, dice())


def test_the_size_of_the_noise_counts_after_a_sixth_of_the_epochs(monkeypatch):
    seen = []
    real = d_vae.loss_of
    monkeypatch.setattr(d_vae, "loss_of", lambda *what: seen.append(what[2:]) or real(*what))
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=dice(), dtype=torch.uint8)
    DVAE(epochs=6, width=4, batch_size=8).fit_once(images, torch.arange(8) % 2, dice())
    assert seen == [(1.0, None), *[(1.0, 0.002)] * 5, (3.0, None), *[(3.0, 0.002)] * 5]
