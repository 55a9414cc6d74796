"""Orthogonal projection: one step of its classifier and a projection by hand, and what is left of class-wise noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional

from ue_bench.clock import Clock
from ue_bench.data.imageset import ImageSet
from ue_bench.defenses._changes import brightness, contrast, matrix, saturation, sharpness, warp
from ue_bench.defenses._jitter import jitter
from ue_bench.defenses.orthogonal_projection import OrthogonalProjection, orthonormal
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train

CPU = torch.device("cpu")


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_directions_that_are_not_at_right_angles_are_all_removed():
    """The authors' helper removes them one after the other unless told otherwise, which leaves some of the first."""
    weights = torch.tensor([[2.0, 0.0, 0.0], [3.0, 3.0, 0.0]])
    basis = orthonormal(weights)
    assert torch.allclose(basis @ basis.T, torch.eye(2), atol=1e-6)
    assert torch.allclose(weights @ basis.T @ basis, weights, atol=1e-5)
    image = torch.tensor([[0.2, 0.4, 0.6]])
    assert torch.allclose(image - (image @ basis.T) @ basis, torch.tensor([[0.0, 0.0, 0.6]]), atol=1e-6)


def test_a_step_of_the_classifier_by_hand():
    """Softmax minus one-hot, times the pixels, averaged over the batch; the start is torch's for a linear layer."""
    images = torch.tensor([[51, 102, 255], [204, 0, 51]], dtype=torch.uint8).view(2, 3, 1, 1)
    labels = torch.tensor([0, 1])
    start = (2 * torch.rand((2, 3), generator=dice(4)) - 1) / math.sqrt(3)
    pixels = images.flatten(1) / 255
    wrong = (pixels @ start.T).softmax(dim=1) - torch.eye(2)
    wanted = start - 0.1 * wrong.T @ pixels / 2
    assert torch.allclose(OrthogonalProjection(epochs=1).weights(images, labels, dice(4)), wanted, atol=1e-6)


def test_the_rate_falls_to_a_tenth_at_half_and_three_quarters():
    images, labels = torch.full((2, 3, 1, 1), 255, dtype=torch.uint8), torch.tensor([0, 1])
    images[1] = 0
    seen = [OrthogonalProjection(epochs=n).weights(images, labels, dice()) for n in (1, 2)]
    by_hand = seen[0] - (OrthogonalProjection(epochs=1).weights(images, labels, dice()) - seen[0])
    assert torch.equal(by_hand, seen[0])
    weights, rates = (2 * torch.rand((2, 3), generator=dice()) - 1) / math.sqrt(3), [0.1, 0.1, 0.01, 0.001]
    for rate in rates:
        wrong = (images.flatten(1) / 255 @ weights.T).softmax(dim=1) - torch.eye(2)
        weights = weights - rate * wrong.T @ (images.flatten(1) / 255) / 2
    four = OrthogonalProjection(epochs=4).weights(images, labels, dice())
    assert torch.allclose(four, weights, atol=1e-6)


@pytest.fixture
def separable() -> tuple[ImageSet, torch.Tensor]:
    """600 pictures of 16 pixels with class-wise noise of 8/255, and that noise in steps."""
    coarse = torch.rand((600, 3, 3, 3), generator=dice(1))
    clean = 30 + 190 * torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    labels = torch.arange(600) % 4
    noise = 16.0 * torch.randint(0, 2, (4, 3, 16, 16), generator=dice(2)) - 8
    return ImageSet((clean + noise[labels]).to(torch.uint8), labels, class_names=tuple("abcd")), noise


def test_class_wise_noise_is_gone_and_pictures_stay(separable):
    data, noise = separable
    assert data.labels is not None
    defense = OrthogonalProjection(epochs=200, batch_size=200)
    weights = defense.weights(data.images, data.labels, dice())
    left = defense.fit_once(data.images, data.labels, dice())
    assert left.dtype == torch.float32 and left.shape == data.images.shape
    scores = left.flatten(1) @ torch.nn.functional.normalize(weights, dim=1).T
    assert float(scores.abs().max()) < 0.05, "nothing is left of the directions that the classifier looks at"
    basis = orthonormal(weights)
    flat = (noise - noise.mean(dim=0)).flatten(1)
    rest = flat - (flat @ basis.T) @ basis
    assert float(rest.square().sum() / flat.square().sum()) < 0.2, "most of what tells the classes apart"
    assert float((left - data.images).square().mean()) < 0.05 * float(data.images.float().square().mean())
    assert not torch.equal(left, left.round()), "values are not rounded"
    assert torch.equal(left, defense.fit_once(data.images, data.labels, dice()))


def test_training_takes_values_outside_the_range_and_times_the_fit(make_images):
    data, test = make_images(24, 4), make_images(8, 4, seed=1)
    before = data.hash_content(), test.hash_content()
    for defense in (OrthogonalProjection(), OrthogonalProjection(augmented=True)):
        torch.manual_seed(0)
        model, clock = nn.Sequential(nn.Flatten(), nn.Linear(data.images[0].numel(), 4)), Clock(CPU)
        recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
        train(model, data, recipe, device=CPU, seed=0, clock=clock, test=test, defense=defense)
        assert clock.seconds["fit"] > 0 and clock.seconds["train"] > 0
        assert defense.comparable_training is not defense.augmented
    assert (data.hash_content(), test.hash_content()) == before


# Its repository's augmentation


def test_colour_and_shape_change_as_torchvisions():
    images = torch.rand((5, 3, 20, 20), generator=dice())
    pairs = (
        (brightness, functional.adjust_brightness),
        (contrast, functional.adjust_contrast),
        (saturation, functional.adjust_saturation),
        (sharpness, functional.adjust_sharpness),
    )
    for ours, theirs in pairs:
        for factor in (0.8, 1.2):
            one = ours(images, torch.full((5, 1, 1, 1), factor))
            assert torch.allclose(one, theirs(images, factor), atol=1e-4), ours.__name__
    angle, still = torch.full((5,), math.radians(8.0)), torch.zeros(5, 2)
    turned = warp(images, matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos()), still)
    same = (turned == functional.rotate(images, 8.0)).float().mean()
    assert float(same) > 0.97


def test_a_warp_of_a_wide_picture_by_hand():
    """Two pixels to the right, one down; the value comes from there, and black from outside."""
    image = torch.arange(24.0).view(1, 1, 4, 6).expand(1, 3, 4, 6)
    one, zero = torch.ones(1), torch.zeros(1)
    moved = warp(image, matrix(one, zero, zero, one), torch.tensor([[2.0, 1.0]]))
    assert moved[0, 0, :3, :4].tolist() == image[0, 0, 1:, 2:].tolist()
    assert not moved[0, 0, 3].any() and not moved[0, 0, :, 4:].any()
    skewed = warp(image, matrix(one, one, zero, one), torch.zeros(1, 2))
    assert skewed[0, 0, 2, :5].tolist() == [12, 13, 14, 15, 16] or skewed[0, 0, 2, 0] in (12.0, 13.0)


def test_jitter_is_seeded_ranges_over_images_and_stays_in_the_range():
    images = torch.rand((40, 3, 12, 12), generator=dice()) * 2 - 0.5
    one, again, other = (jitter(images, dice(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert float(one.min()) >= 0 and float(one.max()) <= 1
