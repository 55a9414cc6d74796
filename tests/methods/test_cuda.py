"""CUDA: its filters in the authors' order, the filtering by hand, and a method without a budget from run to file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import fresh_context

from ue_bench import Budget, ProtectorView
from ue_bench.errors import ConfigError
from ue_bench_methods.cuda import CUDA, draw_filters, filtered


def make(data, method, seed=0):
    context = fresh_context(seed)
    noise = method.protect(ProtectorView(data, CUDA.access, "supervised", "cuda"), context)
    noise.check(len(data), data.image_size, method.budget)
    return noise


def test_filters_are_drawn_in_the_authors_order():
    # Three channels of weights are drawn, then the place of the 1; the second class goes on from there.
    draws, wanted = np.random.RandomState(7), []
    for _ in range(2):
        weights = draws.uniform(0, 0.3, 27)
        row, column = draws.randint(3), draws.randint(3)
        first = weights[:9].reshape(3, 3).copy()
        first[row, column] = 1.0
        wanted.append(first)
    assert torch.equal(draw_filters(2, 3, 0.3, 7), torch.from_numpy(np.stack(wanted)))
    many = draw_filters(50, 3, 0.3, 0).flatten(1)
    assert ((many == 1).sum(1) == 1).all() and float(many.sort(dim=1).values[:, -2].max()) <= 0.3


def test_filtering_by_hand():
    image = torch.tensor([[[1, 2], [3, 4]], [[0, 0], [0, 10]], [[0, 0], [0, 0]]], dtype=torch.uint8)[None]
    # 1 at the left of the middle, 0.5 in the middle: each pixel is its left neighbour plus half of itself.
    weights = torch.zeros(1, 3, 3, dtype=torch.float64)
    weights[0, 1, 0], weights[0, 1, 1] = 1, 0.5
    # First channel: (0.5, 2), (1.5, 5); second: 0, (0, 5). The largest, 5, becomes 255: 51 for each 1.
    wanted = [[[25.5, 102], [76.5, 255]], [[0, 0], [0, 255]], [[0, 0], [0, 0]]]
    assert filtered(image, weights, floor=True)[0].tolist() == [
        [[int(value) for value in row] for row in channel] for channel in wanted
    ]
    nearest = filtered(image, weights)[0]
    assert nearest[0].tolist() == [[26, 102], [76, 255]]  # halves to even, as everywhere


def test_a_black_image_stays_black_and_is_no_error(make_images):
    data = make_images(count=8, classes=2, size=8)
    data.images[3] = 0
    noise = make(data, CUDA())
    assert noise.partial and not noise.noise[3].any()
    assert not noise.apply(data.images)[3].any()


def test_images_of_a_class_share_a_filter_and_those_of_another_do_not(make_images):
    data = make_images(count=4, classes=2, size=8)
    data.images[:] = data.images[0]
    published = make(data, CUDA()).apply(data.images)
    assert torch.equal(published[0], published[2]) and torch.equal(published[1], published[3])
    assert not torch.equal(published[0], published[1])
    assert int(published.flatten(1).max()) == 255
    control = make(data, CUDA(filters="image")).apply(data.images)
    assert len(control.unique(dim=0)) == 4


def test_a_filter_seed_is_the_key_whatever_the_trials_seed(make_images):
    data = make_images(count=8, classes=2, size=8)
    one, two = (make(data, CUDA(filter_seed=3), seed).noise for seed in (0, 1))
    assert torch.equal(one, two) and not torch.equal(one, make(data, CUDA(filter_seed=4)).noise)
    assert not torch.equal(make(data, CUDA(), 0).noise, make(data, CUDA(), 1).noise)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="none, because nothing bounds the change, not linf:8"):
        CUDA(budget=Budget("linf", 8))
    with pytest.raises(ConfigError, match="kernel must be odd, not 4: say cuda.kernel=5"):
        CUDA(kernel=4)


def test_a_method_without_a_budget_from_run_to_export_and_back(command, tmp_path):
    few = ["shapes.train_images=120", "shapes.test_images=60", "recipe.epochs=1", "recipe.batch_size=32"]
    words = ["suite=supervised", "profile=smoke", *few, f"store={tmp_path / 'store'}"]
    ended = command("run", *words, "method=[cuda,ops]", "poison_ratio=[0.5,1]")
    assert ended.status == 0, ended.err
    alone = command("run", *words, "method=[cuda]").out
    assert "unbounded (L2 " in next(line for line in alone.splitlines() if line.startswith("| cuda"))
    assert "cannot be judged" in alone and "random noise of the same budget does no harm" not in alone
    table = command("report", *words[:1], words[-1]).out
    row = next(line for line in table.splitlines() if line.startswith("| cuda"))
    assert "unbounded (L2 " in row
    records = [json.loads(path.read_text()) for path in (tmp_path / "store" / "trials").glob("*.json")]
    mine = next(r for r in records if r["method"] == "cuda" and r["poison_ratio"] == 1)
    assert mine["budget"] == "unbounded" and mine["noise"]["changed_images"] == 120
    assert any(r["method"] == "random" and r["budget"] == "L0 1 px" for r in records)
    assert not any(r["method"] == "random" and r["budget"] == "unbounded" for r in records)
    half = next(r for r in records if r["method"] == "cuda" and r["poison_ratio"] == 0.5)
    assert half["mask"]["protected"] == 60
    for method, budget in (("cuda", "unbounded"), ("ops", "L0 1 px")):
        trial = next(r for r in records if r["method"] == method and r["poison_ratio"] == 1)
        out = tmp_path / method
        ended = command("export", f"trial={trial['id']}", "format=npz", f"out={out}", words[-1])
        assert ended.status == 0, ended.err
        ended = command("run", *words, f"method=[file:{out}]")
        assert ended.status == 0, ended.err
        again = [json.loads(path.read_text()) for path in (tmp_path / "store" / "trials").glob("*.json")]
        found = next(r for r in again if r["method"].startswith("file") and str(out) in r["method"])
        assert found["budget"] == budget
        assert found["metrics"]["accuracy_last"] == trial["metrics"]["accuracy_last"]
