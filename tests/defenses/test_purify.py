"""Purification: the schedule and a step back by hand, who trains on what, and noise that it takes away."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from learnable import pictures

from ue_bench import ImageSet
from ue_bench.contracts.defense import Defense
from ue_bench.defenses import purify
from ue_bench.defenses._ddpm import Diffusion, NoisePredictor
from ue_bench.defenses.early_stopping import EarlyStopping
from ue_bench.defenses.purify import Purify
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.registry import Registry
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train
from ue_bench.trials.evaluate import _held_out

SMALL = {
    "steps": 80,
    "start": 2,
    "training_steps": 3,
    "batch_size": 8,
    "width": 4,
    "blocks": 1,
    "average": 0.5,
}


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_cosine_schedule_by_hand():
    """Four steps: cos^2 of (t / 4 + 0.008) / 1.008 quarter turns, over that at 0; the last beta is at most 0.999."""
    level = [math.cos((t / 4 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(5)]
    wanted = [each / level[0] for each in level[:4]]
    found = Diffusion(4).kept.tolist()
    assert found == pytest.approx([*wanted, wanted[3] * 0.001])
    paper, quick = Diffusion(4000), Diffusion(80)
    assert float(paper.kept[100]) == pytest.approx(float(quick.kept[2]), rel=1e-3)
    assert 255 / 2 * math.sqrt(1 - float(paper.kept[100])) == pytest.approx(6.5, abs=0.2), (
        "as large as the noise"
    )


def test_noise_is_added_by_the_schedule():
    diffusion = Diffusion(4)
    images, noise = torch.full((2, 3, 2, 2), 0.5), torch.full((2, 3, 2, 2), -1.0)
    found = diffusion.noisy(images, torch.tensor([1, 3]), noise)
    for row, time in enumerate((1, 3)):
        kept = float(diffusion.kept[time])
        assert found[row].unique().tolist() == pytest.approx([0.5 * kept**0.5 - (1 - kept) ** 0.5])


def test_a_step_back_by_hand():
    """The posterior's mean and variance, as Ho et al. write them, of the picture that the prediction implies."""
    diffusion = Diffusion(4)
    kept, earlier = float(diffusion.kept[2]), float(diffusion.kept[1])
    alpha, beta = kept / earlier, 1 - kept / earlier
    found = diffusion.before(torch.tensor([0.3]), 2, torch.tensor([0.1]), torch.tensor([2.0]))
    picture = (0.3 - math.sqrt(1 - kept) * 0.1) / math.sqrt(kept)
    mean = (0.3 - beta / math.sqrt(1 - kept) * 0.1) / math.sqrt(alpha)
    assert abs(picture) < 1
    deviation = math.sqrt(beta * (1 - earlier) / (1 - kept))
    assert float(found) == pytest.approx(mean + 2 * deviation, rel=1e-5)
    last = diffusion.before(torch.tensor([5.0]), 1, torch.tensor([0.0]), torch.tensor([9.0]))
    assert float(last) == pytest.approx(1.0), "the last step adds no noise, and pictures end at 1"


def test_with_the_true_noise_the_way_back_ends_at_the_picture():
    diffusion, images = Diffusion(40), 2 * torch.rand(3, 3, 4, 4, generator=dice()) - 1

    def predict(at, times):
        kept = diffusion.kept[times].float()[:, None, None, None]
        asked.append(times.unique().tolist())
        return (at - kept.sqrt() * images) / (1 - kept).sqrt()

    asked = []
    found = diffusion.purified(images, 7, predict, dice(1))
    torch.testing.assert_close(found, images, rtol=0, atol=1e-5)
    assert asked == [[7], [6], [5], [4], [3], [2], [1]]


def test_the_network_has_the_papers_form():
    torch.manual_seed(0)
    model = NoisePredictor(4, 3, 4000)
    widths = [block.one[2].out_channels for block in model.down if hasattr(block, "one")]
    assert widths == [4] * 3 + [8] * 9 and len(model.up) == 4 * 4 + 3
    attentive = [hasattr(block.attention, "parts") for block in model.down if hasattr(block, "one")]
    assert attentive == [False] * 3 + [True] * 6 + [False] * 3
    images, times = torch.rand(2, 3, 16, 8), torch.tensor([1, 4000])
    assert model(images, times).abs().max() == 0, "nothing at first"
    for weight in model.parameters():  # many of them are zero at first
        torch.nn.init.normal_(weight, std=0.1)
    made = model(images, times)
    assert made.shape == images.shape and not torch.equal(made, model(images, times.flip(0)))
    made.square().sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("text", ["4", "0%clean", "100%clean", "-1%clean", "4%", "many%clean"])
def test_a_name_that_does_not_say_how_many_are_clean_is_refused(text):
    with pytest.raises(ConfigError, match=r"purify:4%clean"):
        Purify(clean=text)


def test_the_name_says_what_the_hacker_has():
    made = Registry().create("defenses", "purify:2.5%clean", {})
    assert made.name == "purify:2.5%clean" and made.clean_images(4000) == 100 and made.fits and not made.stops
    assert EarlyStopping().clean_images(4000) == 0 and Purify().clean_images(4000) == 0
    with pytest.raises(ConfigError, match="in its name"):
        Registry().create("defenses", "purify", {})
    joined = Registry().create("defenses", "purify:5%clean+jpeg", {})
    assert joined.clean_images(200) == 10 and joined.fits
    with pytest.raises(ConfigError, match="multiple of 4"):
        Purify(width=6)
    with pytest.raises(ConfigError, match="start must be at most"):
        Purify(steps=10)


def test_it_learns_from_clean_images_alone(monkeypatch):
    """Also joined with others, which see what it returns; those without clean images fit as before."""
    seen = []

    def trained(self, diffusion, clean, generator):
        seen.append(clean.unique().tolist())
        return lambda images, times: torch.zeros_like(images)

    monkeypatch.setattr(Purify, "_trained", trained)
    images = torch.full((6, 3, 8, 8), 200, dtype=torch.uint8)
    clean, labels = torch.full((2, 3, 8, 8), 7, dtype=torch.uint8), torch.arange(6) % 2
    found = Purify(clean="4%clean", **SMALL).fit_with_clean(images, labels, clean, dice())
    assert seen == [[7]] and found.dtype == torch.uint8 and found.shape == images.shape
    joined = Registry().create("defenses", "purify:4%clean+grayscale", {"purify:4%clean": SMALL})
    grey = joined.fit_with_clean(images, labels, clean, dice())
    assert torch.equal(grey[:, 0], grey[:, 1]) and len(seen) == 2
    assert torch.equal(Defense().fit_with_clean(images, labels, clean, dice()), images)
    with pytest.raises(ConfigError, match="no clean images"):
        Purify(**SMALL).fit_with_clean(images, labels, clean[:0], dice())
    with pytest.raises(ConfigError, match="multiples of 8, not 12 x 8"):
        Purify(**SMALL).fit_with_clean(torch.zeros(2, 3, 8, 12, dtype=torch.uint8), labels, clean, dice())


def test_the_trainer_hands_it_the_clean_images_and_does_not_stop_by_them(monkeypatch, make_images):
    seen = []

    def fit(self, images, labels, clean, generator):
        seen.append((len(images), clean))
        return images

    monkeypatch.setattr(Purify, "fit_with_clean", fit)
    data, clean = make_images(16, 4, size=8), make_images(8, 4, size=8, seed=1)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
    more = {"test": clean, "clean": clean, "defense": Purify(clean="4%clean", **SMALL)}
    curves = train(model, data, recipe, device=torch.device("cpu"), seed=0, **more)
    assert [count for count, _ in seen] == [16] and torch.equal(seen[0][1], clean.images)
    assert curves.validation_accuracy == [] and "stopped_epoch" not in curves.metrics()


@pytest.mark.parametrize("name", ["purify:10%clean", "purify:10%clean+held_out_stopping"])
def test_a_trial_leaves_its_clean_images_out(name, make_images):
    """A tenth of 40 images, by class, clean; another tenth, as published, chooses the epoch where that is wanted."""
    clean = make_images(40, 4, size=8)
    published = ImageSet(255 - clean.images, clean.labels, None, clean.class_names)
    defense = Registry().create("defenses", name, {})
    trial = SimpleNamespace(seed=0, defense=SimpleNamespace(name=name))
    rest, more = _held_out(trial, clean, published, defense)
    known = more.pop("clean")
    assert sorted(known.labels.tolist()) == [0, 1, 2, 3]
    parts = [255 - known.images, rest.images, *(each.images for each in more.values())]
    assert [len(part) for part in parts] == ([4, 36] if name == "purify:10%clean" else [4, 32, 4])
    everything = torch.cat(parts).flatten(1).unique(dim=0)
    assert torch.equal(everything, published.images.flatten(1).unique(dim=0)), "each image is in one part"


def test_it_is_seeded_and_draws_nothing_else():
    images, clean = pictures(12).images, pictures(9, seed=1).images
    labels, state = torch.arange(12) % 3, torch.get_rng_state()
    one, again, other = (
        Purify(**SMALL).fit_with_clean(images, labels, clean, dice(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, again) and not torch.equal(one, other)
    with pytest.raises(TrainingError, match="diverged"):
        Purify(**SMALL | {"learning_rate": 1e30}).fit_with_clean(images, labels, clean, dice())


@pytest.mark.parametrize(("only_needed", "largest"), [(True, 2), (False, 80)])
def test_it_trains_for_all_steps_or_for_those_that_are_asked_for(only_needed, largest, monkeypatch):
    times = []
    real = Diffusion.noisy
    monkeypatch.setattr(Diffusion, "noisy", lambda self, *what: times.append(what[1]) or real(self, *what))
    method = Purify(**SMALL | {"only_needed": only_needed, "training_steps": 40})
    method._trained(Diffusion(80), pictures(9).images, dice())
    drawn = torch.cat(times)
    assert int(drawn.min()) == 1 and largest * 0.9 <= int(drawn.max()) <= largest


def test_grey_images_and_noise_are_an_option():
    images, targets = torch.rand(400, 3, 8, 8, generator=dice()) / 2 + 0.25, torch.eye(400)
    assert Purify().batch(images, targets, dice())[0] is images
    found, same = Purify(augmented=True).batch(images, targets, dice())
    assert same is targets and torch.equal((found * 255).round() / 255, found)
    apart = (found[:, 0] - found[:, 1]).flatten(1).std(1)  # noise alone where an image is grey: 0.05 twice
    grey = apart < 0.1
    assert 0.3 < float(grey.float().mean()) < 0.5
    assert float((found - images)[~grey].std()) == pytest.approx(0.05, abs=0.003)
    assert purify.GREY == 0.4
