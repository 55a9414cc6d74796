"""UEraser: clouds, copies and the largest loss by hand; TrivialAugment beside torchvision's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2 import functional

from ue_bench.clock import Clock
from ue_bench.defenses import ueraser
from ue_bench.defenses._plasma import _refine, _seed, plasma
from ue_bench.defenses._trivial import OPERATIONS, trivial
from ue_bench.defenses.ueraser import UEraser
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train

CPU = torch.device("cpu")


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int = 6, side: int = 32) -> torch.Tensor:
    coarse = torch.rand((count, 3, 4, 4), generator=dice(9))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


class Ramp(nn.Module):
    """The first logit is the image's mean, the second 0; counts what it sees."""

    def __init__(self):
        super().__init__()
        self.scale, self.seen = nn.Parameter(torch.ones(())), []

    def forward(self, images):
        self.seen.append(len(images))
        first = self.scale * images.mean(dim=(1, 2, 3))
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_the_first_grid_by_hand():
    drawn = torch.tensor([[0.0, 0.6, 0.3], [0.9, 0.6, 0.0], [0.6, 0.3, 0.9]])
    wanted = [[0.0, 0.3, 0.3], [0.5, (2 * 0.45 + 0.6) / 3, 0.4], [0.6, 0.6, 0.9]]
    assert torch.allclose(_seed(drawn), torch.tensor(wanted))


def test_a_refinement_by_hand():
    """Without roughness: the middle is the corners' mean, and an edge that of its two corners and the middle."""
    grid = torch.tensor([[0.0, 0.4], [0.8, 1.0]]).view(1, 1, 2, 2)
    middle = 0.55
    wanted = [
        [0.0, (0.0 + 0.4 + middle) / 3, 0.4],
        [(0.0 + 0.8 + middle) / 3, middle, (0.4 + 1.0 + middle) / 3],
        [0.8, (0.8 + 1.0 + middle) / 3, 1.0],
    ]
    assert torch.allclose(_refine(grid, torch.zeros(1, 1, 1, 1), dice())[0, 0], torch.tensor(wanted))
    bigger = torch.zeros(1, 1, 3, 3)
    bigger[0, 0, 1, 1] = 1.0
    fine = _refine(bigger, torch.zeros(1, 1, 1, 1), dice())[0, 0]
    assert fine[1, 1] == 0.25 and torch.allclose(fine[1, 2], torch.tensor((1 + 0.25 + 0.25) / 4))
    drawn = torch.rand((1, 1, 5, 5), generator=dice(3))
    rough = _refine(bigger, torch.ones(1, 1, 1, 1), dice(3))
    assert torch.equal(rough[:, :, 1::2, 1::2], drawn[:, :, 1::2, 1::2]) and rough[0, 0, 2, 2] == 1


def test_clouds_are_fractal_and_a_channel_has_its_own():
    rough, even = (plasma(torch.full((60, 1, 1, 1), r), 3, (32, 48), dice()) for r in (0.7, 0.0))
    assert rough.shape == (60, 3, 32, 48) and float(rough.min()) >= 0 and float(rough.max()) <= 1
    assert abs(float(rough.mean()) - 0.5) < 0.02 and not torch.equal(rough[:, 0], rough[:, 1])
    steps = [float((cloud[..., 1:] - cloud[..., :-1]).abs().mean()) for cloud in (rough, even)]
    assert steps[0] > 3 * steps[1], "roughness makes neighbours differ"


def test_brightness_and_contrast_by_hand(monkeypatch):
    """A cloud of 3/4 adds half the intensity, 0.5 to 1, to 0.2; then the distance to 0.5 is tripled."""
    monkeypatch.setattr(ueraser, "plasma", lambda r, c, size, g: torch.full((len(r), c, *size), 0.75))
    monkeypatch.setattr(ueraser, "trivial", lambda images, g: images)
    gray = torch.full((500, 3, 2, 2), 0.2)
    shown = UEraser(plasma_share=1.0).augment(gray, dice())[:, 0, 0, 0]
    intensity = ((shown[shown < 1] - 0.5) / 3 + 0.5 - 0.2) / 0.5
    assert 0.499 < float(intensity.min()) < 0.52 and float(intensity.max()) > 0.9
    assert float(shown.max()) == 1.0, "cut to [0, 1]"
    values = UEraser(plasma_share=0.5).augment(gray, dice())[:, 0, 0, 0]
    assert 0.18 < float((values == 0.2).float().mean()) < 0.32, "a quarter has neither"


def test_channels_are_shuffled_for_half_of_the_images(monkeypatch):
    monkeypatch.setattr(ueraser, "trivial", lambda images, g: images)
    monkeypatch.setattr(ueraser, "plasma", lambda r, c, size, g: torch.full((len(r), c, *size), 0.5))
    image = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(600, 3, 2, 2)
    shown = UEraser(plasma_share=1e-9).augment(image, dice())[:, :, 0, 0]
    assert torch.allclose(shown.sort(dim=1).values, torch.tensor([0.1, 0.5, 0.9]).expand(600, 3))
    stayed = (shown == image[:, :, 0, 0]).all(dim=1).float().mean()
    assert abs(float(stayed) - (0.5 + 0.5 / 6)) < 0.06


def test_the_largest_loss_of_the_copies_by_hand(monkeypatch):
    """Copies are brighter by turns; of class 0 the darkest has the largest loss, of class 1 the brightest."""
    factors = torch.tensor([1.0, 0.5, 2.0])
    monkeypatch.setattr(
        UEraser, "augment", lambda self, x, g: x * factors.repeat_interleave(2).view(6, 1, 1, 1)
    )
    images = torch.tensor([0.2, 0.4]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    model = Ramp()
    defense = UEraser(variant="max", repeats=3)
    loss, logits = defense.loss(model, images, torch.eye(2), cross_entropy, dice())
    worst = [math.log(1 + math.exp(-0.1)), math.log(1 + math.exp(0.8))]
    assert float(loss.detach()) == pytest.approx(sum(worst) / 2, rel=1e-5) and model.seen == [6]
    assert torch.allclose(logits[:, 0], torch.tensor([0.1, 0.8]))
    (slope,) = torch.autograd.grad(loss, model.scale)
    by_hand = (-0.1 / (1 + math.exp(0.1)) + 0.8 / (1 + math.exp(-0.8))) / 2  # of the two worst copies only
    assert float(slope) == pytest.approx(by_hand, rel=1e-5)


def test_several_copies_at_first_and_one_then():
    images, targets = smooth(4), torch.eye(4)[:, :2] + torch.tensor([[0, 0], [0, 0], [1.0, 0], [0, 1.0]])
    sizes = {}
    for variant in ("lite", "standard", "max"):
        sizes[variant] = []
        for epoch in range(5):
            model = Ramp()
            acting = UEraser(variant=variant, first_share=0.4).in_epoch(epoch, 5)
            acting.loss(model, images, targets, cross_entropy, dice())
            sizes[variant] += model.seen
    assert sizes == {"lite": [4] * 5, "standard": [20, 20, 4, 4, 4], "max": [20] * 5}


def test_a_copy_more_never_lowers_the_loss():
    images, targets, model = smooth(8), torch.eye(2).repeat(4, 1), Ramp()
    losses = [
        float(
            UEraser(variant="max", repeats=n).loss(model, images, targets, cross_entropy, dice())[0].detach()
        )
        for n in (1, 40)
    ]
    assert losses[1] > losses[0] + 0.01


# TrivialAugment


def near(ours: torch.Tensor, theirs: torch.Tensor, share: float = 0.99) -> bool:
    """Equal to two levels of 255 in all but a few pixels, whose nearest neighbour is a matter of rounding."""
    same = (ours * 255 - theirs.float()).abs() <= 2
    return float(same.float().mean()) >= share


@pytest.mark.parametrize("strength", [-0.7, 0.3, 1.0])
def test_operations_are_torchvisions(strength):
    images = smooth()
    pixels = (images * 255).round().to(torch.uint8)
    images = pixels / 255
    factor, degrees = 1 + 0.99 * strength, math.degrees(math.atan(0.99 * strength))

    def affine(**changes):
        usual = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        return functional.affine(pixels, **{**usual, **changes})

    theirs = {
        "ShearX": affine(shear=[degrees, 0.0], center=[0, 0]),
        "ShearY": affine(shear=[0.0, degrees], center=[0, 0]),
        "TranslateX": affine(translate=[int(32 * strength), 0]),
        "TranslateY": affine(translate=[0, int(32 * strength)]),
        "Rotate": functional.rotate(pixels, 135 * strength),
        "Brightness": functional.adjust_brightness(pixels, factor),
        "Color": functional.adjust_saturation(pixels, factor),
        "Contrast": functional.adjust_contrast(pixels, factor),
        "Sharpness": functional.adjust_sharpness(pixels, factor),
        "Posterize": functional.posterize(pixels, 8 - round(6 * abs(strength))),
        "Solarize": functional.solarize(pixels, 255 * (1 - abs(strength))),
        "AutoContrast": functional.autocontrast(pixels),
        "Equalize": functional.equalize(pixels),
        "Identity": pixels,
    }
    assert set(theirs) == set(OPERATIONS)
    mirrored = {"TranslateX", "TranslateY"}  # either sign is as likely
    moving = {"ShearX", "ShearY", "Rotate", *mirrored}
    for name, wanted in theirs.items():
        sign = -1 if name in mirrored else 1
        ours = OPERATIONS[name](images, torch.full((len(images),), sign * strength))
        assert near(ours, wanted, 0.95 if name in moving else 0.99), name


def test_every_image_draws_its_own_operation():
    images = smooth(1).expand(200, 3, 32, 32)
    shown = trivial(images, dice())
    assert len({tuple(image.flatten().tolist()) for image in shown}) > 140
    assert float(shown.min()) >= 0 and float(shown.max()) <= 1
    assert torch.equal(shown, trivial(images, dice())) and not torch.equal(shown, trivial(images, dice(1)))


def test_a_victim_trains_with_it(make_images):
    data, test = make_images(24, 4), make_images(8, 4, seed=1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(data.images[0].numel(), 4))
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.01)
    curves = train(model, data, recipe, device=CPU, seed=0, clock=Clock(CPU), test=test, defense=UEraser())
    assert len(curves.test_accuracy) == 2 and not UEraser.comparable_training
