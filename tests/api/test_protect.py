"""Noise for arrays in memory: the benchmark's own, whatever kind of array, with the caller's state untouched."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CONTENT

import ue_bench
from ue_bench.datasets.shapes import Shapes
from ue_bench.errors import DataError, PerturbationError, UEBenchError
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.store import Store

COUNT = 24
SMALL = {"profile": "smoke", "surrogate": "resnet_tiny", "device": "cpu"}


@pytest.fixture
def given():
    """(images, uint8 [24, 3, 32, 32], labels)."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8), np.arange(COUNT) % 3


@pytest.fixture
def protect(tmp_path):
    """``ue_bench.protect`` with a store of the test's own."""
    return lambda *words, **settings: ue_bench.protect(*words, **{"store": tmp_path / "store", **settings})


def test_it_is_the_noise_that_a_run_makes_for_the_same_data(tmp_path, protect):
    size = {"train_images": 100, "test_images": 50}
    result = ue_bench.run(
        "quickstart", profile="smoke", method="synper", shapes=size, seeds=1, store=tmp_path / "store"
    )
    key = result.frame().query("method == 'synper'")["noise_key"].item()
    kept, _ = load_perturbation(Store(tmp_path / "store"), key)
    train = Shapes(**size).load(32).train
    noise = protect("synper", train.images, train.labels, class_names=train.class_names)
    assert torch.equal(noise.noise[noise.rows], kept.noise[kept.rows])
    other = protect("synper", train.images, train.labels, class_names=train.class_names, seed=1)
    assert not torch.equal(other.noise[other.rows], kept.noise[kept.rows])


def test_every_kind_of_array_gives_the_same_noise_and_stays_as_it_was(given, protect):
    images, labels = given
    before = images.copy()
    noise = protect("random", images, labels, epsilon="4/255")
    same = [
        protect("random", torch.from_numpy(images), torch.from_numpy(labels), epsilon=4),
        protect("random", images.transpose(0, 2, 3, 1), labels.astype(np.uint8), epsilon=4 / 255),
        protect("random", torch.from_numpy(images).permute(0, 2, 3, 1), labels.tolist(), budget="linf:4"),
    ]
    assert all(torch.equal(noise.noise, each.noise) for each in same)
    assert int(noise.noise.abs().max()) == 4 and noise.noise.dtype == torch.int8
    protected = noise.apply(images)
    assert np.abs(protected.astype(int) - images).max() == 4 and (images == before).all()


def test_a_method_with_a_surrogate_leaves_the_callers_random_state_alone(given, protect):
    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()

    def seed():
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)

    seed()
    wanted = draw()
    seed()
    with pytest.warns(UserWarning, match="em: em stopped at its cap"):
        noise = protect("em", *given, epsilon="8/255", granularity="class", **SMALL)
    assert draw() == wanted
    assert noise.noise.shape == (3, 3, 32, 32) and noise.rows.tolist() == given[1].tolist()


def test_captions_make_noise_for_pairs(given, protect):
    images, _ = given
    noise = protect("random", images, captions=["a cat"] * COUNT)
    assert len(noise.rows) == COUNT and noise.apply(images).shape == images.shape
    several = protect("random", images, captions=[["a cat", "a dog"]] * COUNT)
    assert len(several.rows) == 2 * COUNT
    with pytest.raises(DataError, match="pairs has one example for each pair"):
        several.apply(images)


IMAGES, LABELS = np.zeros((4, 3, 32, 32), np.uint8), np.arange(4)


@pytest.mark.parametrize(
    ("method", "arrays", "settings", "message"),
    [
        ("emm", (IMAGES, LABELS), {}, "unknown method 'emm': did you mean 'em'"),
        (
            "em",
            (IMAGES, LABELS),
            {"sed": 1},
            r"parameter of ue_bench\.protect and .* 'sed': did you mean 'seed'",
        ),
        ("em", (IMAGES, LABELS), {"max_round": 1}, "did you mean 'max_rounds'"),
        (
            "em",
            (IMAGES, LABELS),
            {"surrogate": "resnet1"},
            "unknown victim 'resnet1': did you mean 'resnet18'",
        ),
        ("em", (IMAGES, LABELS), {"profile": "tiny"}, "unknown profile of method 'em' 'tiny'"),
        (
            "em",
            (IMAGES, LABELS),
            {"epsilon": "x"},
            "epsilon is a radius above 0 and up to 255, such as '8/255'",
        ),
        ("em", (IMAGES, LABELS), {"epsilon": 7.5}, "whole number of steps"),
        ("em", (IMAGES, LABELS), {"device": "gpu"}, "gpu"),
        ("em", (IMAGES, LABELS), {"class_names": ["a"]}, "labels run from 0 to 3; allowed are 0 to 0"),
        ("synper", (IMAGES, LABELS), {"epsilon": 8}, "but the budget of synper is L2"),
        ("synper", (IMAGES,), {}, "synper needs labels, your data has none: give labels="),
        ("mem", (IMAGES, LABELS), {}, "mem is for contrastive training, not supervised: give captions="),
        ("synper", (IMAGES,), {"captions": ["a"] * 4}, "not contrastive: leave captions out"),
        ("em", (IMAGES / 255, LABELS), {}, "not float64: round"),
        ("em", (IMAGES, LABELS[:3]), {}, r"labels must be of shape \[4\], one per image, not \[3\]"),
        ("em", (IMAGES, LABELS / 1), {}, "labels are whole numbers.*not float64"),
        ("em", (IMAGES, LABELS - 1), {}, "count classes from 0, but the smallest is -1"),
        ("random", (IMAGES,), {"captions": ["a"] * 3}, "3 captions for 4 images"),
        (
            "random",
            (IMAGES,),
            {"captions": "a cat"},
            "captions must be one string, or a list of strings, per image",
        ),
        ("random", (IMAGES,), {"captions": ["a", "b", "", "c"]}, "image 2 must have captions in words"),
    ],
)
def test_mistakes_are_told_before_any_work(protect, method, arrays, settings, message):
    with pytest.raises(UEBenchError, match=message):
        protect(method, *arrays, **settings)


def test_a_method_that_changes_the_images_is_found_out(given, protect, tmp_path):
    plugin = tmp_path / "vandal.py"
    plugin.write_text(
        "from dataclasses import dataclass\nimport torch\nfrom ue_bench import Access, Method, Perturbation\n\n"
        "@dataclass(frozen=True)\nclass Vandal(Method):\n    access = Access.IMAGES\n\n"
        "    def protect(self, view, context):\n        view.images[:] = 0\n"
        "        noise = torch.randint(-8, 9, view.images.shape).to(torch.int8)\n"
        "        return Perturbation(noise, view.rows('image'), self.budget)\n"
    )
    with pytest.raises((PerturbationError, DataError), match="in place: it must work on a copy"):
        protect("vandal", *given, plugins=[plugin])


@pytest.mark.parametrize("deed", ["more than promised", "without bounds", "another norm"])
def test_noise_over_the_declared_budget_is_refused_whatever_budget_it_tells(given, protect, deed):
    with pytest.raises(PerturbationError, match="over its budget of 8"):
        protect("hostile", *given, plugins=[CONTENT], deed=deed)


def test_nothing_is_imported_before_it_is_needed():
    code = "import sys, ue_bench; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
