"""Public data: one preparation for all arms, resumed, named in records, compared with what is protected."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from captioned import make_context, pictures
from interrupted import Saying

from ue_bench import ImageSet, Split
from ue_bench.canonical import plain
from ue_bench.errors import ConfigError
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import StoreShelf, prepare_key
from ue_bench.trials.overlap import caption_hashes, compare, hashes, told_of_captions
from ue_bench.trials.protect import make_noise
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Choice, Trial
from ue_bench_methods._t2ue.public import load_pairs
from ue_bench_methods.t2ue import T2UE

REGISTRY = Registry()
METHOD = T2UE(**{**T2UE.presets["smoke"], "filters": 2, "public_images": 32, "surrogate_batch_size": 32})


def trial(
    environment: Environment, method=METHOD, paradigm="supervised", size=16, dataset="shapes", **parameters
) -> Trial:
    """Of a dataset at a size that is not the public data's, unless said so."""
    parameters = {"train_images": 40, "test_images": 10, "seed": 9, **parameters}
    content = REGISTRY.create("datasets", dataset, parameters)
    split = environment.load_dataset(dataset, size, parameters)
    return Trial(
        paradigm=paradigm,
        dataset=Choice(dataset, plain(content.parameters())),
        image_size=size,
        train_fingerprint=split.train.fingerprint,
        test_fingerprint=split.test.fingerprint,
        method=Choice("t2ue", plain(method.parameters())),
        victim=Choice("resnet_tiny", {}),
        defense=Choice("none", {}),
        recipe={},
        poison_ratio=1.0,
        seed=0,
    )


@pytest.fixture
def environment(tmp_path) -> Environment:
    return Environment(str(tmp_path / "store"), "cpu")


def test_arms_share_a_generator(environment, monkeypatch):
    calls, prepare = [], T2UE.prepare
    monkeypatch.setattr(T2UE, "prepare", lambda self, context: calls.append(1) or prepare(self, context))
    arms = [
        dataclasses.replace(METHOD, granularity="class"),
        dataclasses.replace(METHOD, granularity="image", z="32"),
        dataclasses.replace(METHOD, granularity="class", checkpoint_epochs=1),
    ]
    facts = [make_noise(trial(environment, arm), environment, Progress())[1] for arm in arms]
    other = make_noise(trial(environment, arms[0], "contrastive", size=32), environment, Progress())[1]
    assert len(calls) == 1, "one training for every granularity, paradigm and dataset"
    assert len({made["prepare_key"] for made in (*facts, other)}) == 1
    assert len({made["seconds"]["prepare"] for made in facts}) == 1, "its cost stands in every record"


@pytest.mark.parametrize("change", [{"epochs": 3}, {"size": 64}, {"public_images": 33}, {"bound": "clamp"}])
def test_what_matters_for_the_generator_makes_another(environment, change):
    one, two = (trial(environment, method) for method in (METHOD, dataclasses.replace(METHOD, **change)))
    louder = METHOD.with_epsilon(16)
    made = [one, two, trial(environment, louder)]
    assert len({prepare_key(each.method, each.seed, METHOD) for each in made}) == 3


def test_other_methods_keep_their_keys():
    method = REGISTRY.create("methods", "random")
    choices = [Choice("m", {"granularity": kind, "z": 1}) for kind in ("class", "image")]
    assert len({prepare_key(choice, seed, method) for choice in choices for seed in (0, 1)}) == 4


def test_what_is_prepared_has_the_key_that_stores_hold_it_under():
    """A change of this key would train every generator once more."""
    choice = Choice("m", {"budget": {"norm": "linf", "radius": 8.0}, "rounds": 3, "z": 1}, 2)
    assert prepare_key(choice, 5, METHOD) == "456acd4d9567f756"
    assert (
        prepare_key(dataclasses.replace(choice, parameters={**choice.parameters, "z": 2}), 5, METHOD)
        == "456acd4d9567f756"
    )


def test_a_killed_preparation_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("ue_bench.checkpoints.SHARE", 0)
    method = dataclasses.replace(METHOD, epochs=4)
    whole = Environment(str(tmp_path / "other"), "cpu")
    wanted, _ = make_noise(trial(whole, method), whole, Progress())
    environment = Environment(str(tmp_path / "store"), "cpu", checkpoint_minutes=1e-9)
    with pytest.raises(KeyboardInterrupt):
        make_noise(trial(environment, method), environment, Killing())
    (kept,) = {path.name.split(".")[0] for path in (tmp_path / "store" / "checkpoints").iterdir()}
    assert kept.startswith("prepared-")
    said = Saying()
    found, facts = make_noise(trial(environment, method), environment, said)
    assert any("continues after epoch 1" in line for line in said.lines)
    assert facts["resumed"] == ["epoch 1"]
    assert torch.equal(found.noise, wanted.noise)
    assert len(facts["notes"]["generator_loss_by_epoch"]) == 4
    assert not list((tmp_path / "store" / "checkpoints").iterdir())


class Killing(Progress):
    """Ctrl-C in the third epoch of the generator; the surrogate has but one."""

    def track(self, items, label):
        for number, item in enumerate(items):
            if label == "epoch" and number == 2:
                raise KeyboardInterrupt
            yield item


def test_the_record_names_the_public_data_and_an_overlap_with_it(environment):
    apart = make_noise(trial(environment, size=16), environment, Progress())[1]
    (about,) = apart["notes"]["public_data"]
    assert about["dataset"] == "shapes" and about["train_images"] == 32 and about["image_size"] == 32
    assert about["overlap"]["train"]["images_shared"] is None, "sizes differ"
    assert "one dataset" in " ".join(apart["warnings"]), "drawn from another seed, but of one source"
    same = make_noise(trial(environment, size=32, seed=0), environment, Progress())[1]
    (about,) = same["notes"]["public_data"]
    assert about["overlap"]["train"]["images_shared"] == pytest.approx(32 / 40)
    (warning,) = (line for line in same["warnings"] if "overlaps" in line)
    assert "80 % of the train images are in it" in warning
    larger = make_noise(trial(environment, size=48, seed=0), environment, Progress())[1]
    (about,) = larger["notes"]["public_data"]
    assert about["overlap"]["train"]["images_shared"] == pytest.approx(32 / 40), "compared at the public size"


def test_captions_of_pictures_elsewhere_are_compared():
    public = part(["a dog runs", "a cat"])
    seen = told_of_captions(about(public), hashes(public), caption_hashes([["A dog  runs."], ["a fish"]]))
    assert seen is not None and "50 % of these captions" in seen
    assert told_of_captions(about(public), hashes(public), caption_hashes([["a fish"]])) is None


def test_lost_hashes_are_made_again(environment):
    made = trial(environment, size=32, seed=0)
    one = make_noise(made, environment, Progress())[1]
    store = Store(environment.store)
    for key in store.names("prepared", ".safetensors"):
        tensors, _ = StoreShelf(store, Progress()).load(key)
        if set(tensors) == {"images", "captions"}:
            store.fs.rm_file(store.path("prepared", f"{key}.safetensors"))
    two = make_noise(made, environment, Progress())[1]
    assert one["notes"]["public_data"] == two["notes"]["public_data"] and one["warnings"] == two["warnings"]


def part(captions, pixel=0) -> ImageSet:
    images = torch.arange(len(captions), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2) + pixel
    return ImageSet(images.contiguous(), None, tuple((text,) for text in captions))


def about(data: ImageSet, name="theirs", size=2) -> dict:
    return {
        "dataset": name,
        "parameters": {},
        "image_size": size,
        "train_fingerprint": data.fingerprint,
        "train_images": len(data),
    }


def test_shares_by_hand():
    public = part(["a dog.", "a cat", "two birds"])
    ours = Split(part(["A  Dog", "a fish", "no", "yes"], pixel=2), part(["a cow"], pixel=100))
    facts, warning = compare(about(public), hashes(public), "ours", ours)
    assert facts["overlap"]["train"] == {"images_shared": 0.25, "captions_shared": 0.25}
    assert facts["overlap"]["test"] == {"images_shared": 0.0, "captions_shared": 0.0}
    assert "25 % of the train images" in warning and "25 % of the train captions" in warning
    assert "test" not in warning


def test_no_warning_without_overlap():
    public = part(["a dog", "a cat"])
    ours = Split(part(["x", "y"], pixel=50), part(["z"], pixel=70))
    assert compare(about(public), hashes(public), "ours", ours)[1] is None


def test_two_halves_of_one_dataset_are_not_one_dataset_where_pixels_were_compared():
    public = part(["a dog", "a cat"])
    others = Split(part(["x", "y"], pixel=50), part(["z"], pixel=70))
    assert compare(about(public, "ours"), hashes(public), "ours", others)[1] is None
    unknown = compare(about(public, "ours", size=4), hashes(public), "ours", others)[1]
    assert "one dataset" in unknown, "at different sizes nothing shows that they are apart"


def test_the_same_data_under_another_name():
    public = pictures(6)
    split = Split(public, pictures(3, seed=1))
    facts, warning = compare(about(public, size=32), hashes(public), "ours", split)
    assert "the same data" in warning and facts["overlap"]["train"]["captions_shared"] == 1.0


def test_images_of_other_sizes_are_not_compared():
    public = part(["a", "b"])
    facts, _ = compare(about(public, size=4), hashes(public), "ours", Split(part(["a"]), part(["b"])))
    assert facts["overlap"]["train"] == {"images_shared": None, "captions_shared": 1.0}


def test_data_without_captions_has_none_in_common():
    public = part(["a", "b"])
    bare = dataclasses.replace(part(["c"], pixel=9), captions=None, _memo={})
    facts, warning = compare(about(public), hashes(public), "ours", Split(bare, bare))
    assert facts["overlap"]["train"] == {"images_shared": 0.0, "captions_shared": None} and warning is None


def test_public_data_may_have_parameters_of_its_own():
    """Own pairs from a file, say; a misspelt setting is told."""
    asked = []

    class Library(Environment):
        def load_dataset(self, name, image_size, parameters=None):
            asked.append((name, image_size, dict(parameters)))
            return Split(part(["a", "b"]), part(["c"]))

    context = make_context(find_public=Library("").find_public)
    assert len(load_pairs(context, "captions path='/my data/mine.csv' seed=3", 32, 7)) == 2
    load_pairs(context, "shapes", 48, 0)
    own = {"path": "/my data/mine.csv", "seed": 3, "train_images": 7}
    assert asked == [("captions", 32, own), ("shapes", 48, {})]
    for wrong in ("captions /mine.csv", "captions path='", ""):
        with pytest.raises(ConfigError):
            load_pairs(context, wrong, 32, 0)
