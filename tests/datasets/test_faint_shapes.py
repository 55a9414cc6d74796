"""Drawn pictures with less contrast: the scenes of ``shapes``, nearer to mid-grey."""

from __future__ import annotations

import pytest
import torch

from ue_bench.datasets.faint_shapes import FaintShapes
from ue_bench.datasets.shapes import Shapes
from ue_bench.errors import ConfigError


def faint(contrast: float) -> torch.Tensor:
    return FaintShapes(train_images=40, test_images=10, contrast=contrast).load(32).train.images


def test_full_contrast_is_shapes_to_the_bit():
    ours = FaintShapes(train_images=40, test_images=10, contrast=1.0).load(32)
    theirs = Shapes(train_images=40, test_images=10).load(32)
    assert ours.train.fingerprint == theirs.train.fingerprint
    assert ours.test.fingerprint == theirs.test.fingerprint


def test_every_pixel_is_nearer_to_mid_grey_by_the_contrast():
    full, half = faint(1.0).double() - 127.5, faint(0.5).double() - 127.5
    # The grain of 2 is the same on both, so half of it stays in the difference, with the rounding of both sides: half
    # of 0.5, and 0.5. Where the full picture is clipped to black or white, the faint one is not.
    inside = full.abs() < 127
    assert (half - full / 2)[inside].abs().max() <= 2 / 2 + 0.5 / 2 + 0.5
    assert half.std() / full.std() == pytest.approx(0.5, abs=0.01)


def test_labels_and_captions_are_those_of_shapes():
    ours = FaintShapes(train_images=40, test_images=10).load(32).train
    theirs = Shapes(train_images=40, test_images=10).load(32).train
    assert torch.equal(ours.labels, theirs.labels) and ours.captions == theirs.captions
    assert ours.class_names == theirs.class_names


def test_a_contrast_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match=r"contrast"):
        FaintShapes(contrast=0.0)
