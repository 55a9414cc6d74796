"""Pairs as published: noise, masks, triggers, and the batches made of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_contrastive import CPU, tiny

from ue_bench import Access, Budget, ImageSet, Perturbation, ProtectorView
from ue_bench.errors import AccessError, ConfigError, PerturbationError
from ue_bench.training.pairs import PairBatches, Pairs, put_in_front
from ue_bench.training.towers import Towers
from ue_bench.trials.poison import publish_pairs


@pytest.fixture(scope="module")
def towers() -> Towers:
    return tiny()


def noise_for(data: ImageSet, granularity: str = "pair", seed: int = 0, **more) -> Perturbation:
    rows = ProtectorView(data, Access.NOTHING, "contrastive").rows(granularity)
    generator = torch.Generator().manual_seed(seed)
    shape = (int(rows.max()) + 1, *data.images.shape[1:])
    noise = torch.randint(-8, 9, shape, generator=generator, dtype=torch.int8)
    return Perturbation(noise, rows, Budget("linf", 8), **more)


def test_a_view_gives_each_pair_its_caption(make_images):
    view = ProtectorView(make_images(3, 2, 8), Access.CAPTIONS, "contrastive")
    assert view.example_captions == (
        *(
            "a picture of class0",
            "number 0",
            "a picture of class1",
            "number 1",
            "a picture of class0",
            "number 2",
        ),
    )
    assert view.image_of_example.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(AccessError):
        _ = ProtectorView(make_images(3, 2, 8), Access.IMAGES, "contrastive").example_captions


def test_pairs_are_published_with_their_own_noise_and_clipped():
    images = torch.tensor([250, 5], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 9, 2)
    data = ImageSet(images, captions=(("a", "b"), ("c",)))
    noise = torch.tensor([[8, -8], [-8, 8], [1, -1]], dtype=torch.int8)[:, None, None, :].repeat(1, 3, 9, 1)
    perturbation = Perturbation(noise, torch.arange(3), Budget("linf", 8))
    pairs, measures = publish_pairs(data, perturbation, torch.tensor([True, True]))
    found = pairs.published(torch.tensor([2, 0, 1]))
    assert found.dtype == torch.uint8 and found[:, 0, 0].tolist() == [[6, 4], [255, 242], [242, 255]]
    assert images[:, 0, 0, 0].tolist() == [250, 5], "the clean images stay"
    assert (measures["changed_images"], measures["examples"], measures["measured_examples"]) == (2, 3, 3)
    half, measures = publish_pairs(data, perturbation, torch.tensor([False, True]))
    assert half.published(torch.arange(3))[:, 0, 0].tolist() == [[250, 250], [250, 250], [6, 4]]
    assert measures["changed_images"] == 1 and measures["linf"] == 1


def test_the_ratio_is_a_share_of_images_and_all_their_pairs(make_images):
    data = make_images(40, 4, 16)
    mask = torch.arange(40) % 4 == 0
    pairs, measures = publish_pairs(data, noise_for(data), mask)
    clean = Pairs.of(data).published(torch.arange(80))
    changed = (pairs.published(torch.arange(80)) != clean).flatten(1).any(dim=1)
    assert torch.equal(changed, mask.repeat_interleave(2)) and measures["changed_images"] == 10


def test_saturated_and_silent_pairs_are_told_apart(make_images):
    data = make_images(4, 2, 16)
    data.images[1] = 255
    up = noise_for(data, "image")
    up.noise[1] = up.noise[1].abs() + 1
    _, measures = publish_pairs(data, up, torch.ones(4, dtype=torch.bool))
    assert measures["changed_images"] == 3, "a white image cannot get whiter"
    up.noise[2] = 0
    with pytest.raises(PerturbationError, match="2 of . pairs .* the first is pair 4, of image 2"):
        publish_pairs(data, up, torch.ones(4, dtype=torch.bool))
    up.noise[2, 0, 3, 5] = 1  # outside the lines that are looked at first
    data.images[2, 0, 3, 5] = 7
    assert publish_pairs(data, up, torch.ones(4, dtype=torch.bool))[1]["changed_images"] == 3


def test_many_pairs_are_measured_on_a_sample(make_images, monkeypatch):
    monkeypatch.setattr("ue_bench.trials.poison.SAMPLE", 5)
    data = make_images(20, 4, 16)
    measures = publish_pairs(data, noise_for(data), torch.ones(20, dtype=torch.bool))[1]
    assert (measures["measured_examples"], measures["examples"], measures["changed_images"]) == (5, 40, 20)


def test_noise_may_lie_in_a_file(make_images, tmp_path, towers):
    """A memory-mapped tensor is read a batch at a time, by rows."""
    data = make_images(12, 4, 16)
    perturbation = noise_for(data)
    stored = torch.from_file(
        str(tmp_path / "noise"), shared=True, size=perturbation.noise.numel(), dtype=torch.int8
    ).view_as(perturbation.noise)
    stored.copy_(perturbation.noise)
    mapped = dataclasses.replace(perturbation, noise=stored)
    mask = torch.ones(12, dtype=torch.bool)
    index = torch.tensor([5, 0, 17])
    batches = [
        PairBatches(publish_pairs(data, noise, mask)[0], towers, 4, CPU, 0)
        for noise in (perturbation, mapped)
    ]
    assert torch.equal(batches[0].take(index)[0], batches[1].take(index)[0])


def test_an_epoch_sees_every_pair_once_in_a_new_order(make_images, towers):
    data = make_images(10, 4, 8)
    data.images[:] = torch.arange(10, dtype=torch.uint8)[:, None, None, None]
    batches = PairBatches(Pairs.of(data), towers, 5, CPU, seed=1)
    seen = [[], []]
    for epoch in seen:
        for images, tokens in batches.epoch():
            shown = (255 * images.mean(dim=(1, 2, 3))).round().int().tolist()
            epoch += zip(shown, map(tuple, tokens.tolist()), strict=True)
    assert len(batches) == 4 and all(len(set(epoch)) == 20 for epoch in seen)
    assert sorted(image for image, _ in seen[0]) == [i for i in range(10) for _ in range(2)]
    assert seen[0] != seen[1]
    again = PairBatches(Pairs.of(data), towers, 5, CPU, seed=1)
    assert [tuple(t.tolist()) for _, tok in again.epoch() for t in tok] == [tokens for _, tokens in seen[0]]
    assert len(PairBatches(Pairs.of(data), towers, 6, CPU, 0)) == 3, "the smaller last batch is left out"


def test_batches_are_as_long_as_their_longest_caption(towers):
    captions = (("one",), ("one two three",), ("one two three four five",))
    data = ImageSet(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), captions=captions)
    batches = PairBatches(Pairs.of(data), towers, 3, CPU, 0)
    assert batches.take(torch.tensor([0, 1]))[1].shape == (2, 5)
    assert batches.take(torch.tensor([0]))[1].tolist() == [[49406, 637, 49407]]


def test_trigger_tokens_stand_in_front_and_the_caption_moves():
    tokens = torch.tensor([[90, 7, 99, 0, 0], [90, 7, 8, 9, 99]])
    found = put_in_front(tokens, torch.tensor([[5, 6], [3, 4]]), end_token=99)
    assert found.tolist() == [[90, 5, 6, 7, 99], [90, 3, 4, 7, 99]]
    assert tokens[0].tolist() == [90, 7, 99, 0, 0]
    with pytest.raises(ConfigError, match="leaves no room"):
        put_in_front(tokens, torch.ones(2, 4, dtype=torch.int64), 99)


def test_protected_pairs_only_get_their_trigger(make_images, towers):
    data = make_images(3, 3, 8)
    mask = torch.tensor([True, False, True])
    words = tuple(f"word{number}" for number in range(6))
    text = publish_pairs(data, noise_for(data, triggers=words), mask)[0]
    batches = PairBatches(text, towers, 6, CPU, 0)
    assert batches.captions[:3] == ["word0 a picture of class0", "word1 number 0", "a picture of class1"]
    assert torch.equal(batches.tokens, towers.tokenize(batches.captions))

    ids = torch.arange(12).view(6, 2) + 1000
    given = publish_pairs(data, noise_for(data, trigger_tokens=ids), mask)[0]
    batches = PairBatches(given, towers, 6, CPU, 0)
    clean = towers.tokenize(Pairs.of(data).captions)
    assert batches.tokens[0, 1:3].tolist() == [1000, 1001] and batches.tokens[5, 1:3].tolist() == [1010, 1011]
    assert torch.equal(batches.tokens[0, 3:], clean[0, 1:-2]), "the caption is shifted, its end token kept"
    assert torch.equal(batches.tokens[2:4], clean[2:4])
    assert batches.captions[1] == f"{towers.decode([1002, 1003])} number 0"
    ids[4, 1] = 60_000
    bad = publish_pairs(data, noise_for(data, trigger_tokens=ids), mask)[0]
    with pytest.raises(ConfigError, match="run to 60000.* 0 to 49407"):
        PairBatches(bad, towers, 6, CPU, 0)
