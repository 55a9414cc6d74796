"""The drawn public set: one upright shape a picture, plain captions, nothing of what ``shapes`` draws."""

from __future__ import annotations

import numpy as np
import pytest

from ue_bench.datasets.drawings import Drawings
from ue_bench.datasets.shapes import Shapes
from ue_bench.errors import ConfigError
from ue_bench.trials.overlap import compare, hashes


@pytest.fixture(scope="module")
def split():
    return Drawings(train_images=300, test_images=60, captions_per_image=4).load(32)


def test_contract(split):
    assert split.train.images.shape == (300, 3, 32, 32) and len(split.test) == 60
    assert split.train.labels is None and {len(texts) for texts in split.train.captions} == {4}
    assert all(len(set(texts)) == 4 for texts in split.train.captions)
    assert Drawings(train_images=100).load(32).train.fingerprint == "ff1c68cea13cf4d1"
    with pytest.raises(ConfigError, match="captions_per_image must be at most 4, not 5"):
        Drawings(captions_per_image=5)


def test_the_first_pictures_are_the_same_however_many_follow(split):
    few = Drawings(train_images=20, test_images=5, captions_per_image=2).load(32).train
    assert np.array_equal(few.images, split.train.images[:20])
    assert few.captions == tuple(texts[:2] for texts in split.train.captions[:20])


def test_every_caption_names_the_shape_and_every_other_one_nothing_else(split):
    names = Shapes(train_images=10, test_images=1).load(32).train.class_names
    for texts in split.train.captions:
        ends = [text.split()[-1] for text in texts]
        assert set(ends) == {ends[0]} and ends[0] in names
        bare = [len(text.split()) == 5 for text in texts]  # "a photo of a star"
        assert bare in ([True, False] * 2, [False, True] * 2)


def test_no_picture_and_no_caption_is_one_of_shapes(split):
    about = {"dataset": "drawings", "image_size": 32, "train_fingerprint": split.train.fingerprint}
    shapes = Shapes(train_images=300, test_images=60).load(32)
    facts, warning = compare(about, hashes(split.train), "shapes", shapes)
    assert warning is None
    assert facts["overlap"]["train"] == {"images_shared": 0.0, "captions_shared": 0.0}
