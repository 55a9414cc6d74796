"""Defenses that change the images of pairs (text_defenses.md, section 3)."""

from __future__ import annotations

import pytest
import torch

from ue_bench.defenses.adversarial_training import AdversarialTraining
from ue_bench.defenses.cutout import Cutout
from ue_bench.defenses.gaussian_noise import GaussianNoise
from ue_bench.defenses.mixup import Mixup
from ue_bench.errors import ConfigError
from ue_bench.training.towers import MEAN, STD

WORDS = ["one", "two", "three", "four"]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_cutout_cuts_one_square_and_leaves_captions():
    """What is cut out is 0 after CLIP's normalisation."""
    images = torch.ones(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    cut, words = Cutout().pairs(images, WORDS, drawn())
    assert cut.is_contiguous(memory_format=torch.channels_last)
    seen = (cut - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    holes = (seen == 0).all(dim=1).flatten(1).sum(dim=1)
    assert words == WORDS and ((holes >= 256) & (holes <= 1024)).all() and bool(images.all())
    assert torch.equal((cut != 1).any(dim=1), (seen == 0).all(dim=1)), "all else stays"


def test_mixup_blends_images_and_joins_their_captions():
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2) / 4
    mixed, words = Mixup().pairs(images, WORDS, drawn(1))
    for number, text in enumerate(words):
        first, second = text.split()
        assert first == WORDS[number]
        expected = (images[number] + images[WORDS.index(second)]) / 2
        assert torch.allclose(mixed[number], expected), "the caption that follows is of the image blended in"
    assert Mixup(pair_share=0).pairs(images, WORDS, drawn())[1] == WORDS
    with pytest.raises(ConfigError, match="pair_share"):
        Mixup(pair_share=2)


def test_noise_has_the_stated_deviation():
    noisy, words = GaussianNoise(sigma=25).pairs(torch.full((4, 3, 64, 64), 0.5), WORDS, drawn())
    assert words == WORDS and abs(float(noisy.std()) * 255 / 25 - 1) < 0.05


def test_the_attack_stays_in_its_ball_and_raises_the_loss():
    images = torch.rand(4, 3, 8, 8, generator=drawn())
    wanted = torch.rand(4, 3, 8, 8, generator=drawn(1))

    def loss(shown: torch.Tensor) -> torch.Tensor:
        return (shown - wanted).square().sum()

    worse = AdversarialTraining(radius=8, step_size=2, steps=5).attack_pairs(loss, images, drawn())
    assert float((worse - images).abs().max()) <= 8 / 255 + 1e-6
    assert float(worse.min()) >= 0 and float(worse.max()) <= 1 and loss(worse) > loss(images)
