"""The way out: a protected training set for other code, which reads back bit for bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ue_bench import ProtectorView
from ue_bench.publish.training_set import _images_of
from ue_bench.registry import Registry
from ue_bench.training.pairs import Pairs
from ue_bench.trials.evaluate import draw_mask
from ue_bench.trials.store import Store
from ue_bench.trials.trial import read_trial

CONTENT = str(Path(__file__).parents[1] / "content")
BLOBS = Registry([CONTENT]).create("datasets", "blobs").load(None)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with two trials of random noise: all protected, and a quarter of it."""
    from ue_bench.cli import main

    folder = tmp_path_factory.mktemp("runs")
    words = ["suite=toy", "method=[]", "poison_ratio=[0.25,1]", f"plugins={CONTENT}", f"store={folder}"]
    with pytest.raises(SystemExit) as end:
        main(["run", *words])
    assert not end.value.code
    return Store(folder)


def record(store, ratio):
    found = store.read_records(store.names("trials", ".json")).values()
    return next(each for each in found if each["method"] == "random" and each["poison_ratio"] == ratio)


def expected(store, ratio):
    """The images that the trial's victim was given, worked out from the noise by hand."""
    from ue_bench.trials.artefacts import load_perturbation

    trial = read_trial(record(store, ratio)["config"])
    noise, _ = load_perturbation(store, trial.noise_key)
    added = (BLOBS.train.images + noise.noise[noise.rows].to(torch.int16)).clamp(0, 255).to(torch.uint8)
    mask = draw_mask(trial, BLOBS.train)
    assert int(mask.sum()) == round(64 * ratio)
    return torch.where(mask[:, None, None, None], added, BLOBS.train.images)


@pytest.mark.parametrize("layout", ["imagefolder", "parquet", "npz"])
@pytest.mark.parametrize("ratio", [0.25, 1.0])
def test_it_reads_back_bit_for_bit(command, store, tmp_path, make_context, layout, ratio):
    out, trial = tmp_path / "set", record(store, ratio)["id"]
    words = (
        f"trial={trial}",
        f"format={layout}",
        f"out={out}",
        f"store={store.address}",
        f"plugins={CONTENT}",
    )
    ended = command("export", *words)
    assert ended.status == 0, ended.err
    method = Registry().create("methods", f"file:{out}")
    view = ProtectorView(BLOBS.train, method.access)
    noise = method.for_data(view).protect(view, make_context())
    read = (BLOBS.train.images + noise.noise[noise.rows].to(torch.int16)).to(torch.uint8)
    assert torch.equal(read, expected(store, ratio))
    assert noise.partial == (ratio < 1)
    assert json.loads((out / "about.json").read_text())["poison_ratio"] == ratio
    again = command("export", *words)
    assert again.status == 2 and "not empty" in again.err


def test_other_code_finds_images_labels_and_clean_tests(command, store, tmp_path):
    for layout in ("imagefolder", "parquet", "npz"):
        words = (f"out={tmp_path / layout}", f"store={store.address}", f"plugins={CONTENT}")
        noise = record(store, 1.0)["noise"]["key"]
        assert command("export", f"noise={noise}", f"format={layout}", *words).status == 0
    for name in ("imagefolder", "parquet"):
        split = Registry().create("datasets", name, {"path": str(tmp_path / name)}).load(None)
        place = torch.cat([(split.train.labels == c).nonzero()[:, 0] for c in range(4)])
        own = torch.cat([(BLOBS.train.labels == c).nonzero()[:, 0] for c in range(4)])
        assert torch.equal(split.train.images[place], expected(store, 1.0)[own]), name
        assert len(split.test) == len(BLOBS.test)
    with np.load(tmp_path / "npz" / "test.npz") as file:
        assert np.array_equal(file["images"], BLOBS.test.images.numpy())
        assert np.array_equal(file["labels"], BLOBS.test.labels.numpy())


def test_what_cannot_be_exported_is_told(command, store, tmp_path):
    where = (f"out={tmp_path / 'x'}", f"store={store.address}", f"plugins={CONTENT}")
    for words, said in (
        (("trial=nothing",), "there is no trial 'nothing'"),
        (("noise=0123",), "unknown noise '0123'"),
        (("trial=a", "noise=b"), "give exactly one of trial= and noise="),
        ((f"trial={record(store, 1.0)['id']}", "format=png"), "unknown format 'png'"),
    ):
        ended = command("export", *words, *where)
        assert ended.status == 2 and said in ended.err, ended.err
    assert not (tmp_path / "x").exists()


def test_pairs_stand_once_with_their_captions_and_triggers(make_images):
    """Two captions an image: one entry an image where its pairs share their noise, else one a pair."""
    clean = make_images(3, 3, 8)
    noise = torch.ones(6, 3, 8, 8, dtype=torch.int8)
    pairs = dataclasses.replace(
        Pairs.of(clean), noise=noise, rows=clean.pairs, protected=torch.tensor([1, 1, 0, 0, 1, 1]).bool(),
        triggers=("xx",) * 6,
    )  # fmt: skip
    whole = _images_of(pairs, clean)
    assert whole.captions[0] == ("xx a picture of class0", "xx number 0")
    assert whole.captions[1] == ("a picture of class1", "number 1")
    assert torch.equal(whole.images[1], clean.images[1])
    assert torch.equal(whole.images[0], (clean.images[0].int() + 1).clamp(max=255).to(torch.uint8))
    single = _images_of(dataclasses.replace(pairs, rows=torch.arange(6)), clean)
    assert len(single) == 6 and single.captions[5] == ("xx number 2",)
