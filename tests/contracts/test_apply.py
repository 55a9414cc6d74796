"""Noise on a person's own arrays: what the harness publishes, in the kind and layout that came."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ue_bench import Budget, Perturbation
from ue_bench.errors import DataError, PerturbationError
from ue_bench.trials.poison import publish

BUDGET = Budget("linf", 8)


def noise_for(count: int, size: tuple[int, int] = (4, 5)) -> Perturbation:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-8, 9, (count, 3, *size), generator=generator, dtype=torch.int8)
    return Perturbation(noise, torch.arange(count).flip(0), BUDGET)


def test_a_sum_worked_by_hand_is_clipped_in_eight_bits():
    noise = torch.tensor([-8, 8, 0, 3], dtype=torch.int8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    images = torch.tensor([5, 250, 17, 200], dtype=torch.uint8).reshape(1, 1, 2, 2).repeat(2, 3, 1, 1)
    protected = Perturbation(noise, torch.zeros(2, dtype=torch.int64), BUDGET).apply(images)
    assert protected[1, 2].tolist() == [[0, 255], [17, 203]] and protected.dtype == torch.uint8
    assert images[0, 0].tolist() == [[5, 250], [17, 200]], "what was given stays as it is"


def test_every_kind_of_array_comes_back_as_it_came_with_what_the_harness_publishes():
    noise = noise_for(6)
    images = torch.randint(
        0, 256, (6, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    wanted = publish(images, noise, torch.ones(6, dtype=torch.bool))
    assert torch.equal(noise.apply(images), wanted)
    array = noise.apply(images.numpy())
    assert isinstance(array, np.ndarray) and (array == wanted.numpy()).all()
    last = images.permute(0, 2, 3, 1)
    assert torch.equal(noise.apply(last), wanted.permute(0, 2, 3, 1))
    frozen = np.ascontiguousarray(last.numpy())
    frozen.flags.writeable = False
    array = noise.apply(frozen)
    assert array.shape == (6, 4, 5, 3) and (array == wanted.permute(0, 2, 3, 1).numpy()).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((5, 3, 4, 5), np.uint8), "5 images for noise of 6 examples"),
        (np.zeros((6, 3, 5, 4), np.uint8), "the images are 5x4 pixels, the noise 4x5: resize"),
        (np.zeros((6, 3, 4, 5), np.float32), r"not float32: round.*\(images \* 255\)\.round\(\)"),
        (torch.zeros(6, 3, 4, 5, dtype=torch.int64), r"not int64: convert them with"),
        (np.zeros((6, 1, 4, 5), np.uint8), "repeat grey images in three channels"),
        (np.zeros((3, 4, 5), np.uint8), r"put one image into a batch with images\[None\]"),
        (np.zeros((0, 3, 4, 5), np.uint8), "at least one image is needed"),
        ([[1, 2], [3, 4]], "must be a NumPy array or a torch tensor, not list"),
        (np.array(["a"]), "must hold numbers"),
        (None, "not NoneType"),
    ],
)
def test_what_does_not_belong_to_the_noise_is_told(images, message):
    with pytest.raises(DataError, match=message):
        noise_for(6).apply(images)


def test_an_image_without_noise_is_an_error_and_no_noise_at_all_is_none():
    noise = noise_for(2)
    noise.noise[0] = 0
    images = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    with pytest.raises(PerturbationError, match="1 of 2 images.*the first is image 1"):
        noise.apply(images)
    nothing = Perturbation(torch.zeros_like(noise.noise), noise.rows, Budget("linf", 0))
    assert torch.equal(nothing.apply(images), images)


def test_it_shows_what_it_is_in_one_line():
    assert repr(noise_for(2)) == "Perturbation(noise=int8 [2, 3, 4, 5], rows=[2], budget=Linf 8/255)"
