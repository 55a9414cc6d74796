"""Retrieval metrics, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ue_bench.errors import DataError
from ue_bench.measures import lookup, measure
from ue_bench.retrieval import random_retrieval, reachable_hit, retrieval


def ranks(images: list[list[float]], texts: list[list[float]], owner: list[int]) -> dict:
    return retrieval(torch.tensor(images), torch.tensor(texts), torch.tensor(owner))


def test_by_hand_with_two_captions_an_image():
    """Three images on the axes; six captions, two an image.

    Scores by caption: 0: (.9 .8 0), 1: (.1 .2 .3), 2: (0 .9 .1), 3: (.5 .4 0), 4: (.2 .7 .6), 5: (.3 0 .1).
    Image 0: captions order 0 3 5 4 1 2, own 0 and 1, best rank 0. Image 1: 2 0 4 3 1 5, own 2 and 3, rank 0.
    Image 2: 4 1 2=5 0=3, own 4 and 5, rank 0. Captions: 0 finds image 0 at rank 0; 1 at 2; 2 finds 1 at 0; 3 finds 1
    at 1; 4 finds 2 at 1; 5 finds 2 at 1. Sorted 0 0 1 1 1 2, median 1.
    """
    texts = [[0.9, 0.8, 0], [0.1, 0.2, 0.3], [0, 0.9, 0.1], [0.5, 0.4, 0], [0.2, 0.7, 0.6], [0.3, 0, 0.1]]
    found = ranks(torch.eye(3).tolist(), texts, [0, 0, 1, 1, 2, 2])
    assert found["i2t_hit@1"] == 100 and found["i2t_medr"] == 1
    assert found["t2i_hit@1"] == pytest.approx(100 / 3) and found["t2i_hit@5"] == 100
    assert found["t2i_medr"] == 2 and found["collapsed"] is False


def test_best_of_the_captions_counts_and_medians_are_floored():
    """Image 0's captions come 2nd and 3rd of four, image 1's only one comes first... and the median of 1 and 0 is 0."""
    images = [[1.0, 0.0], [0.0, 1.0]]
    texts = [[0.5, 0.1], [0.4, 0.2], [0.9, 0.8], [0.2, 0.3]]
    found = ranks(images, texts, [0, 0, 1, 1])
    # image 0: 2 (not own), then 0 (own): rank 1. image 1: 2 (own): rank 0. median 0.5, floored 0, plus 1.
    assert (found["i2t_hit@1"], found["i2t_hit@5"], found["i2t_medr"]) == (50, 100, 1)


def test_any_number_of_captions_in_any_order():
    """One image with three captions, one with one: the owners need not lie in groups of equal size."""
    images = [[1.0, 0.0], [0.0, 1.0]]
    found = ranks(images, [[1, 0], [0, 1], [0.6, 0.5], [0.1, 0.7]], [0, 1, 0, 0])
    assert found["i2t_hit@1"] == 100
    assert found["t2i_hit@1"] == 75, "the last caption prefers the wrong image"


def test_ties_count_against_the_answer():
    """All captions score alike for image 0: its own stand behind the two of others."""
    found = ranks([[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.3], [0.5, 0.2], [0.5, 0.9], [0.5, 0.1]], [0, 0, 1, 1])
    assert found["i2t_hit@1"] == 50, "image 1 finds caption 2, image 0 is tied with two captions of image 1"
    same = torch.ones(8, 4) / 2
    found = retrieval(same, same.repeat(5, 1), torch.arange(8).repeat(5))
    assert found["t2i_medr"] == 8 and found["i2t_medr"] == 36, "constant features cannot look like knowledge"
    assert found["i2t_hit@10"] == 0


def test_collapse_is_flagged_and_diversity_is_not():
    generator = torch.Generator().manual_seed(0)
    texts = functional.normalize(torch.randn(40, 16, generator=generator), dim=1)
    near = functional.normalize(torch.ones(20, 16) + 0.1 * torch.randn(20, 16, generator=generator), dim=1)
    owner = torch.arange(40) % 20
    assert float((near @ near.T).mean()) > 0.98
    assert not retrieval(near, texts, owner)["collapsed"], (
        "an untrained ResNet's images have a cosine of 0.999"
    )
    assert retrieval(near[:1].repeat(20, 1), texts, owner)["collapsed"]
    assert retrieval(near, texts[:1].repeat(40, 1), owner)["collapsed"]
    broken = near.clone()
    broken[3, 2] = torch.nan
    found = retrieval(broken, texts, owner)
    assert found["collapsed"] and all(math.isfinite(value) for value in found.values())
    lost = retrieval(torch.full_like(near, torch.nan), texts, owner)
    assert lost["collapsed"] and lost["i2t_hit@10"] == lost["t2i_hit@10"] == 0, "NaN must not rank first"


def test_chunks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    images = functional.normalize(torch.randn(30, 8, generator=generator), dim=1)
    texts = functional.normalize(torch.randn(90, 8, generator=generator), dim=1)
    owner = torch.arange(90) % 30
    whole = retrieval(images, texts, owner)
    monkeypatch.setattr("ue_bench.retrieval.CHUNK", 7)
    assert retrieval(images, texts, owner) == whole


def test_guessing_in_closed_form_and_in_practice():
    guess = random_retrieval(1000, 5)
    assert guess["i2t_hit@10"] == pytest.approx(0.996, abs=5e-4) and guess["t2i_hit@10"] == 1.0
    assert (guess["i2t_medr"], guess["t2i_medr"]) == (647, 500.5)
    assert random_retrieval(5000, 5)["i2t_medr"] == 3236
    assert random_retrieval(4, 1) == {
        **{"i2t_hit@1": 25, "i2t_hit@5": 100, "i2t_hit@10": 100, "i2t_medr": 2},
        **{"t2i_hit@1": 25, "t2i_hit@5": 100, "t2i_hit@10": 100, "t2i_medr": 2.5},
    }
    generator = torch.Generator().manual_seed(2)
    images = functional.normalize(torch.randn(1000, 64, generator=generator), dim=1)
    texts = functional.normalize(torch.randn(5000, 64, generator=generator), dim=1)
    drawn = retrieval(images, texts, torch.arange(1000).repeat_interleave(5))
    assert drawn["i2t_medr"] == pytest.approx(647, rel=0.12) and drawn["t2i_medr"] == pytest.approx(
        500, rel=0.1
    )
    assert 0.4 < drawn["i2t_hit@10"] < 1.8


def test_equal_captions_of_different_images_cap_what_can_be_reached():
    assert reachable_hit([["a face"], ["A  face"], ["a face", "a smile"]]) == pytest.approx(100 / 3)
    assert reachable_hit([["one", "two"], ["two", "three"]]) == 100, "one caption of its own will do"
    assert reachable_hit([["one", "one"]]) == 100 and reachable_hit([]) == 0


def test_the_mark_of_a_collapse_is_what_the_protocol_says():
    one = torch.ones(1000, 4) / 2
    found = retrieval(one, one.repeat(5, 1), torch.arange(1000).repeat(5))
    assert found["collapsed"] and (found["i2t_medr"], found["t2i_medr"]) == (4996, 1000)


def test_what_does_not_fit_is_named():
    with pytest.raises(DataError, match="at least one caption"):
        retrieval(torch.rand(3, 4), torch.rand(4, 4), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(DataError, match="do not fit together"):
        retrieval(torch.rand(2, 4), torch.rand(3, 4), torch.tensor([0, 1]))


def test_reports_find_the_metrics_and_those_of_the_best_epoch():
    record = {"metrics": {"i2t_hit@10": 17.7, "t2i_medr": 78.0, "best": {"i2t_hit@10": 23.7, "epoch": 7}}}
    wanted = measure("i2t_hit@10")
    assert lookup(record, wanted.name) == 17.7
    assert lookup(record, wanted.best) == 23.7 and lookup(record, wanted.best_epoch) == 7
    assert wanted.lower_protects and not measure("t2i_medr").lower_protects
    assert measure("mean5.i2t_medr").label == "i2t MedR, mean of the last 5 epochs (rank)"
    assert lookup({"metrics": {"mean5": {"i2t_hit@10": 1.5}}}, "mean5.i2t_hit@10") == 1.5
