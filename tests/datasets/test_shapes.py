"""The drawn dataset: reproducible, balanced, true to its captions, and without a cheap way to the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ue_bench.datasets._shapes.captioning import captions
from ue_bench.datasets._shapes.drawing import draw, paint, shape_distance, texture
from ue_bench.datasets._shapes.outlines import SHAPES, outline
from ue_bench.datasets._shapes.scenes import COLOURS, CONTRAST, NAMES, PALETTE, TEXTURES, sample
from ue_bench.datasets.shapes import Shapes
from ue_bench.errors import ConfigError


@pytest.fixture(scope="module")
def split():
    return Shapes(train_images=600, test_images=300).load(32)


def inside(scenes, size: int, margin: float = 0.0) -> np.ndarray:
    """bool [N, size, size]: the pixels of the shape, but for ``margin`` half-pictures along its edge."""
    line = (np.arange(size) + 0.5) * (2 / size) - 1
    return shape_distance(scenes, line[None, None, :], line[None, :, None]) < -margin


def one_of_each(**changes):
    """The ten shapes upright in the middle, large, on plain grounds, without clutter."""
    scenes = sample(10, (0, 0))
    nothing = {
        name: getattr(scenes, name) * 0 for name in ("lines", "blobs", "field", "light", "angle", "centre")
    }
    plain = {name: getattr(scenes, name) * 0 for name in ("texture", "ground_texture", "tint", "ground_tint")}
    return replace(scenes, labels=np.arange(10), radius=np.full(10, 0.5), **nothing, **plain | changes)


def test_contract(split):
    assert split.train.images.shape == (600, 3, 32, 32) and split.test.images.shape == (300, 3, 32, 32)
    assert split.train.class_names == split.test.class_names == tuple(SHAPES)
    assert all(len(texts) == 2 for texts in split.train.captions)
    assert Shapes().label() == "Shapes"
    assert Shapes().source_state() is not None


def test_same_seed_same_content(split):
    again = Shapes(train_images=600, test_images=300).load(32)
    assert again.train.fingerprint == split.train.fingerprint
    assert again.test.fingerprint == split.test.fingerprint
    assert Shapes(train_images=600, seed=1).load(32).train.fingerprint != split.train.fingerprint


def test_pixels_are_those_of_the_version():
    """If this fails on purpose, raise ``Shapes.version`` with it: results rest on these pixels."""
    assert Shapes.version == 1
    assert Shapes(train_images=100, test_images=10).load(32).train.fingerprint == "23fba57fddacd00b"


def test_first_images_do_not_depend_on_how_many_follow(split):
    few = Shapes(train_images=33, test_images=7, captions_per_image=1).load(32)
    assert torch.equal(few.train.images, split.train.images[:33])
    assert torch.equal(few.train.labels, split.train.labels[:33])
    assert torch.equal(few.test.images, split.test.images[:7])
    assert [texts[0] for texts in few.train.captions] == [texts[0] for texts in split.train.captions[:33]]


def test_chunks_leave_no_trace():
    """A batch that spans several chunks equals its pictures drawn in smaller batches."""
    scenes = sample(300, (5, 0))
    whole, start = draw(scenes, 48, (5, 0)), draw(scenes[:70], 48, (5, 0))
    assert (whole[:70] == start).all()
    assert np.abs(paint(scenes[100:130], 48) * 255 - whole[100:130]).max() < 2.6 + 255 * 0.03


def test_classes_are_balanced_from_the_start(split):
    for part in (split.train, split.test):
        assert (part.labels.reshape(-1, 10).sort(1).values == torch.arange(10)).all()
    assert len({tuple(row) for row in split.train.labels.reshape(-1, 10).tolist()}) > 50


def test_no_image_is_in_both_parts_or_twice(split):
    images = [image.numpy().tobytes() for image in (*split.train.images, *split.test.images)]
    assert len(set(images)) == 900


@pytest.mark.parametrize("size", [16, 64, 96, 224])
def test_other_sizes_show_the_same_pictures(split, size):
    other = Shapes(train_images=20, test_images=10).load(size).train
    assert other.images.shape == (20, 3, size, size)
    assert other.captions == split.train.captions[:20]
    small = torch.nn.functional.interpolate(other.images.float(), (16, 16), mode="area")
    mine = torch.nn.functional.interpolate(split.train.images[:20].float(), (16, 16), mode="area")
    assert (small - mine).abs().mean() < 4


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_cover_the_same_area(name):
    line = (np.arange(600) + 0.5) / 120 - 2.5
    covered = (outline(name, line[None, :], line[:, None]) < 0).mean() * 25
    assert covered == pytest.approx(np.pi, rel=0.01)


def test_shapes_are_distinct():
    masks = inside(one_of_each(), 64)
    for first in range(10):
        for second in range(first):
            overlap = (masks[first] & masks[second]).sum() / (masks[first] | masks[second]).sum()
            assert overlap < 0.97, (NAMES[first], NAMES[second])


def test_edges_are_soft():
    """Anti-aliased: some pixels along an edge are mixtures of both colours, none lies beyond them."""
    scenes = one_of_each()
    pictures, masks = paint(scenes, 32), inside(scenes, 32)
    low = np.minimum(PALETTE[scenes.colour], PALETTE[scenes.ground])[:, :, None, None]
    high = np.maximum(PALETTE[scenes.colour], PALETTE[scenes.ground])[:, :, None, None]
    assert (pictures >= low - 1e-9).all() and (pictures <= high + 1e-9).all()
    assert all(len(np.unique(pictures[k].sum(0).round(6))) > 2 for k in range(10))
    assert masks.any((1, 2)).all()


def test_colour_words_are_true():
    """The mean colour inside the shape, and outside, is nearest to the colour that the captions name."""
    scenes = sample(400, (3, 0))
    pictures, mask = paint(scenes, 32), inside(scenes, 32, margin=0.05)
    clear = ~inside(scenes, 32, margin=-0.1)
    names = tuple(COLOURS)
    for row, (text,) in enumerate(captions(scenes, 1)):
        shape = pictures[row][:, mask[row]].mean(1)
        ground = np.median(pictures[row][:, clear[row]], axis=1)
        seen = {names[np.abs(PALETTE - colour).sum(1).argmin()] for colour in (shape, ground)}
        said = set(text.replace(";", "").replace(",", "").split()) & set(names)
        assert said == seen, text


def test_words_for_shape_size_and_place_are_true():
    scenes = sample(400, (4, 0))
    mask = inside(scenes, 64)
    line = (np.arange(64) + 0.5) / 32 - 1
    for row, texts in enumerate(captions(scenes, 5)):
        area = scenes.radius[row]
        x, y = scenes.centre[row]
        for text in texts:
            words = set(text.replace(";", "").replace(",", "").split())
            assert words & set(NAMES) == {NAMES[scenes.labels[row]]}, text
            assert not (words & {"large", "big"}) or area > 0.58, text
            assert not (words & {"small", "little"}) or area < 0.51, text
            assert ("left" in words) == (x < -0.12) and ("right" in words) == (x > 0.12), text
            assert bool(words & {"upper", "top"}) == (y < -0.12), text
            assert bool(words & {"lower", "bottom"}) == (y > 0.12), text
            assert bool(words & {"stripes", "striped"}) == (TEXTURES[scenes.texture[row]] == "striped"), text
        if NAMES[scenes.labels[row]] in ("circle", "ring", "square", "cross", "hexagon"):
            middle = np.array([(mask[row].sum(0) * line).sum(), (mask[row].sum(1) * line).sum()])
            assert np.abs(middle / mask[row].sum() - scenes.centre[row]).max() < 0.1


def test_captions_of_an_image_differ(split):
    five = Shapes(train_images=50, test_images=10, captions_per_image=5).load(32).train.captions
    assert all(len(set(texts)) == 5 for texts in five)
    assert [texts[:2] for texts in five] == list(split.train.captions[:50])
    assert len({texts[0] for texts in split.train.captions}) > 580  # enough to tell pictures apart by words
    assert all(" a a" not in text and " a o" not in text for texts in five for text in texts)


def test_shape_and_ground_stand_apart():
    scenes = sample(2000, (6, 0))
    distance = np.linalg.norm(PALETTE[scenes.colour] - PALETTE[scenes.ground], axis=1)
    assert distance.min() >= CONTRAST
    assert set(scenes.ground) == set(scenes.colour) == set(range(len(PALETTE)))


@pytest.mark.parametrize("name", TEXTURES)
def test_textures_leave_the_mean_colour(name):
    line = (np.arange(128) + 0.5) / 64 - 1
    kinds = np.full(40, TEXTURES.index(name))
    tones = texture(kinds, sample(40, (7, 0)).weave, line[None, None, :], line[None, :, None], 2 / 32)
    assert np.abs(tones).max() <= 1
    assert abs(tones.mean()) < 0.3
    assert (tones.std() > 0.3) == (name != "plain")


def test_colour_and_brightness_do_not_tell_the_class():
    """A linear model of the mean colour, its spread and the brightness stays near the 10 % of guessing."""
    split = Shapes(train_images=2000, test_images=1000).load(32)

    def features(part):
        pixels = part.images.float().div(255).flatten(2)
        brightness = pixels.mean(1)
        return torch.cat(
            [pixels.mean(2), pixels.mean(2) ** 2, brightness.mean(1, True), brightness.std(1, keepdim=True)],
            1,
        ).numpy()

    model = LogisticRegression(max_iter=2000).fit(features(split.train), split.train.labels.numpy())
    assert model.score(features(split.test), split.test.labels.numpy()) < 0.16


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_images", 0),
        ("test_images", 0),
        ("seed", -1),
        ("captions_per_image", 0),
        ("captions_per_image", 6),
    ],
)
def test_values_that_do_not_fit_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        Shapes(**{field: value})
