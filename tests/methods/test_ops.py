"""OPS: its two scores by hand and by the formulas as they are printed, its search, and what victims get."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_context

from ue_bench import Budget, ImageSet, ProtectorView
from ue_bench.contracts.perturbation import sizes
from ue_bench.errors import ConfigError
from ue_bench_methods.ops import COLOURS, OPS, best, moments, score

RED = COLOURS.tolist().index([1, 0, 0])


def make(data, method=None):
    context = fresh_context()
    noise = (method or OPS()).protect(ProtectorView(data, OPS.access, "supervised", "ops"), context)
    noise.check(len(data), data.image_size, (method or OPS()).budget)
    return noise, context.notes["pixels"]


def images_of(*rows) -> torch.Tensor:
    """uint8 [N, 3, 1, 2]: images of two pixels, each (red, green, blue)."""
    return torch.tensor(rows, dtype=torch.uint8).permute(0, 2, 1)[:, :, None, :]


def test_the_scores_in_a_hand_worked_case():
    # Red is 51 and 102, which is 0.2 and 0.4; the other channels are 0. The distances to pure red are 0.8 and 0.6.
    images = images_of([(51, 0, 0), (0, 0, 0)], [(102, 0, 0), (0, 0, 0)])
    found = score(*moments(images), "paper")
    assert float(found[0, RED]) == pytest.approx(0.7 / 0.01)
    # The pool of all values: 0.8, 0.6 and four zeros, mean 1.4 / 6, mean square 1 / 6.
    mean = 1.4 / 6
    assert float(score(*moments(images), "code")[0, RED]) == pytest.approx(mean / (1 / 6 - mean**2) ** 0.5)
    # The second pixel is always black: far from white and never different, nothing is better.
    assert int(found[1].argmax()) == COLOURS.tolist().index([1, 1, 1])
    assert float(found[1].max()) > 1e6 and float(found[1, 0]) == 0


@pytest.mark.parametrize("kind", ["paper", "code"])
def test_the_scores_are_the_printed_formulas(make_images, kind):
    images = make_images(count=30, classes=2, size=3).images
    found = score(*moments(images), kind)
    values = images.double().flatten(2) / 255
    for colour, place in ((0, 0), (3, 4), (RED, 8)):
        distances = (COLOURS[colour][:, None] - values[:, :, place].T).abs()  # [3, N]
        if kind == "paper":
            sums = distances.sum(0)
            wanted = sums.mean() / sums.var(unbiased=False)
        else:
            wanted = distances.mean() / distances.std(unbiased=False)
        assert float(found[place, colour]) == pytest.approx(float(wanted), rel=1e-9)


def test_two_classes_get_the_pixels_that_a_hand_search_finds():
    # Class 0: the first pixel is always black; its opposite is white. Class 1: the second pixel is always white.
    rest = [(10, 200, 90), (240, 30, 160), (70, 120, 20)]
    zero = [[(0, 0, 0), colour] for colour in rest]
    one = [[colour, (255, 255, 255)] for colour in rest]
    data = ImageSet(images_of(*zero, *one), torch.tensor([0, 0, 0, 1, 1, 1]), None, ("a", "b"))
    noise, pixels = make(data)
    assert pixels == [[0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 0, 0]]
    assert noise.noise[:, :, 0].tolist() == [[[255, 0]] * 3, [[0, -255]] * 3]
    published = noise.apply(data.images)
    assert (published[:3, :, 0, 0] == 255).all() and (published[3:, :, 0, 1] == 0).all()
    assert torch.equal(published[:3, :, 0, 1], data.images[:3, :, 0, 1])


def test_a_pair_that_is_taken_is_left_to_nobody_else():
    scores = torch.tensor([[5.0, 1, 0, 0, 0, 0, 0, 0], [4.0, 3, 0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    free = torch.ones(2, 8, dtype=torch.bool)
    assert best(scores, free, 2) == [
        (0, 0),
        (1, 0),
    ]  # each position once, though (1, 1) beats nothing but itself
    free[0, 0] = False
    assert best(scores, free, 1) == [(1, 0)]


def test_classes_alike_get_different_pairs():
    images = torch.full((8, 3, 2, 2), 100, dtype=torch.uint8)
    _, pixels = make(ImageSet(images, torch.arange(8) % 4, None, tuple("abcd")))
    assert len({tuple(pixel[1:]) for pixel in pixels}) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_pixels_change_as_the_budget_says(make_images, count):
    data = make_images(count=40, classes=4, size=8)
    method = OPS(budget=Budget("l0", count))
    noise, pixels = make(data, method)
    assert sizes(noise.noise, "l0").tolist() == [count] * 4 and len(pixels) == 4 * count
    assert torch.equal(noise.rows, data.labels)
    assert noise.budget == method.budget and str(noise.budget) == f"L0 {count} px"


def test_the_order_of_the_images_changes_nothing(make_images):
    data = make_images(count=40, classes=4, size=8)
    turned = ImageSet(data.images.flip(0), data.labels.flip(0), None, data.class_names)
    assert torch.equal(make(data)[0].noise, make(turned)[0].noise)


def test_more_pixels_than_there_are_is_a_clear_error(make_images):
    with pytest.raises(ConfigError, match=r"needs 5 pixels for each of 4 classes, and images of 2x2"):
        make(make_images(count=8, classes=4, size=2), OPS(budget=Budget("l0", 5)))
    with pytest.raises(ConfigError, match="must be an l0 budget"):
        OPS(budget=Budget("linf", 8))
