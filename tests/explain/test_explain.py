"""Pictures of one trial: the victim that they show, the numbers behind them, and what is said when there are none."""

from __future__ import annotations

import builtins
import dataclasses
import hashlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import CONTENT, CPU
from PIL import Image

from ue_bench import Budget, Perturbation
from ue_bench.cli import main
from ue_bench.data.imageset import Split
from ue_bench.errors import ConfigError, DataError, StoreError
from ue_bench.explain import features
from ue_bench.explain import victim as victims
from ue_bench.explain.cards import caption_words
from ue_bench.explain.command import explain_command
from ue_bench.explain.curves import curves_of, find_control
from ue_bench.explain.features import panels_of
from ue_bench.explain.samples import image_samples, pair_samples, sample_examples, spread
from ue_bench.explain.subject import Subject, find_record, load_subject
from ue_bench.progress import Progress
from ue_bench.training.contrastive import Gallery
from ue_bench.training.supervised import accuracy, logits_of
from ue_bench.trials.artefacts import load_tensors
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import draw_mask, pack_mask, unpack_mask
from ue_bench.trials.store import Store
from ue_bench.trials.trial import read_trial

NAMES = ("attention", "cards", "curves", "features")
MARKER = '''"""A method for these tests."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Access, Budget, Method, Perturbation


@dataclass(frozen=True)
class Marker(Method):
    """Random signs, and two words before each caption."""

    budget: Budget = Budget("linf", 8)  # steps of 1/255
    granularity: str = "pair"  # pair
    failure: bool = False  # raise

    access = Access.NOTHING
    paradigms = frozenset({"contrastive"})
    granularities = ("pair",)

    def protect(self, view, context):
        if self.failure:
            raise ValueError("no ink")
        count = len(view)
        noise = torch.randint(0, 2, (count, 3, *view.image_size), generator=context.generator) * 16 - 8
        return Perturbation(noise.to(torch.int8), torch.arange(count), self.budget, ("zebra lantern",) * count)
'''


def run(*words: str) -> None:
    with pytest.raises(SystemExit):
        main(["run", *words])


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(features, "PICTURES", 12)


@pytest.fixture(scope="module")
def pairs_store(tmp_path_factory) -> tuple[str, str]:
    """(store, plugins) of a suite on captions: clean, random noise, the marker, the marker's failure."""
    top = tmp_path_factory.mktemp("pairs")
    (top / "marker.py").write_text(MARKER)
    sizes = "shapes.train_images=48 shapes.test_images=24 recipe.epochs=2 recipe.batch_size=16"
    run(
        *(
            "suite=clip_retrieval",
            "profile=smoke",
            f"store={top / 'store'}",
            f"plugins=[{top / 'marker.py'}]",
        ),
        *sizes.split(),
        "method=[marker, {marker: {failure: true}}]",
        "poison_ratio=[0.5]",
    )
    return str(top / "store"), str(top / "marker.py")


@pytest.fixture(scope="module")
def images_store(tmp_path_factory) -> str:
    """The store of a toy suite on labels."""
    top = tmp_path_factory.mktemp("images")
    run(
        "suite=toy",
        f"plugins=[{CONTENT}]",
        f"store={top}",
        "method=[fragile]",
        "victim=[vgg_tiny]",
        "image_size=16",
    )
    return str(top)


def trial_of(store: str, method: str, status: str = "done") -> str:
    records = [Store(store).read_record(key) for key in Store(store).names("trials", ".json")]
    (key,) = [r["id"] for r in records if r and (r["method"], r["status"]) == (method, status)]
    return key


def subject_of(store: str, method: str, *plugins: str) -> tuple[Subject, Environment]:
    environment = Environment(store, "cpu", plugins)
    record = environment.open_store().read_record(trial_of(store, method))
    assert record
    return load_subject(record, environment), environment


def explain(store: str, method: str, out, plugins: str = "", count: int = 2) -> int:
    words = [
        f"trial={trial_of(store, method)[:12]}",
        f"store={store}",
        f"out={out}",
        f"count={count}",
        "device=cpu",
    ]
    return explain_command([*words, f"plugins=[{plugins}]"])


def never(*arguments):
    raise AssertionError("a victim was trained")


def check_pictures(folder, names=NAMES) -> dict[str, str]:
    found = {path.stem: path for path in folder.glob("*")}
    assert set(found) == set(names)
    for path in found.values():
        colours = Image.open(path).convert("RGB").getcolors(1 << 24)
        assert colours and len(colours) > 100, f"{path.name} is blank"
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def test_pairs_are_explained_by_the_very_victim_of_the_trial(pairs_store, tmp_path, capsys, monkeypatch):
    store, plugin = pairs_store
    shutil.rmtree(f"{store}/victims", ignore_errors=True)
    assert explain(store, "marker", tmp_path / "a", plugin) == 0
    said = capsys.readouterr().out
    assert "trained the victim again and kept it in" in said and "exactly what its record says" in said
    first = check_pictures(tmp_path / "a")
    subject, environment = subject_of(store, "marker", plugin)
    kept = load_tensors(Store(store), "victims", subject.trial.id)
    assert (
        kept
        and kept[1]["metrics"] == subject.record["metrics"]
        and kept[1]["curves"] == subject.record["curves"]
    )

    monkeypatch.setattr(victims, "train_victim", never)
    assert explain(store, "marker", tmp_path / "b", plugin) == 0
    assert "the victim is the one kept in" in capsys.readouterr().out
    assert check_pictures(tmp_path / "b") == first, "the same bytes every time"
    towers, _ = victims.recover_victim(subject, environment, Progress())
    found = Gallery(subject.split.test, towers).search(towers, CPU)
    assert {name: found[name] for name in ("i2t_hit@10", "t2i_hit@10", "i2t_medr", "t2i_medr")} == {
        name: subject.record["metrics"][name] for name in ("i2t_hit@10", "t2i_hit@10", "i2t_medr", "t2i_medr")
    }


def test_labelled_images_are_explained_by_the_very_victim_of_the_trial(images_store, tmp_path, capsys):
    assert explain(images_store, "fragile", tmp_path, CONTENT) == 0
    check_pictures(tmp_path)
    assert "exactly what its record says" in capsys.readouterr().out
    subject, environment = subject_of(images_store, "fragile", CONTENT)
    model, _ = victims.recover_victim(subject, environment, Progress())
    test = subject.split.test
    assert accuracy(logits_of(model, test, CPU), test.labels) == subject.record["metrics"]["accuracy_last"]


def test_the_clean_control_is_shown_on_the_same_examples(pairs_store, tmp_path, capsys):
    """MEM's figure 6: clean pairs in the clean model beside protected ones in the poisoned model."""
    store, plugin = pairs_store
    subject, environment = subject_of(store, "marker", plugin)
    model, _ = victims.recover_victim(subject, environment, Progress())
    control = find_control(environment.open_store(), subject.record)
    clean, lack, told = victims.recover_clean(subject.record, control, environment, Progress())
    assert not lack and told.startswith(f"clean control {control['id']}: ")
    panels = panels_of(subject, model, clean)
    assert [panel.title.splitlines()[0] for panel in panels] == [
        "clean pairs, clean victim",
        "clean test pairs,",
        "training pairs, clean,",
        "the same training pairs, as published,",
    ]
    assert all(panel.title.endswith("\nthis trial's victim") for panel in panels[1:])
    assert torch.equal(panels[0].sample.images, panels[2].sample.images)
    assert not torch.equal(panels[0].points[0], panels[2].points[0]), "another victim"

    lone = tmp_path / "lone"
    shutil.copytree(store, lone)
    (lone / "trials" / f"{control['id']}.json").unlink()
    assert explain(str(lone), "marker", tmp_path / "out", plugin) == 0
    assert "the store holds no clean control of it" in capsys.readouterr().out
    check_pictures(tmp_path / "out")
    (lone / "victims" / f"{control['id']}.safetensors").unlink()
    (lone / "noise" / f"{load_subject(control, environment).trial.noise_key}.safetensors").unlink()
    copy = Environment(str(lone), "cpu", (plugin,))
    assert victims.recover_clean(subject.record, control, copy, Progress())[:2] == (
        None,
        "its clean control's victim cannot be recovered",
    )


def test_the_mask_in_a_record_is_the_one_that_was_trained_on(pairs_store):
    subject, _ = subject_of(pairs_store[0], "marker", pairs_store[1])
    train, kept = subject.split.train, subject.record["mask"]
    mask = unpack_mask(kept, len(train))
    assert kept["protected"] == 24 and len(kept["sha256"]) == 16
    assert torch.equal(mask, draw_mask(subject.trial, train)), "poison_mask's"
    assert subject.protected.tolist() == mask[train.pairs].nonzero()[:, 0].tolist()
    other = dataclasses.replace(subject, record={**subject.record, "mask": pack_mask(~mask)})
    assert sorted([*other.protected.tolist(), *subject.protected.tolist()]) == list(range(96)), (
        "it is preferred"
    )
    old = dataclasses.replace(
        subject, record={key: value for key, value in subject.record.items() if key != "mask"}
    )
    assert torch.equal(old.protected, subject.protected), "records of older runs have none"
    for odd in (torch.zeros(13, dtype=torch.bool), torch.ones(13, dtype=torch.bool), mask[:13]):
        assert torch.equal(unpack_mask(pack_mask(odd), 13), odd)
    for broken in ({**kept, "sha256": "0" * 16}, {**kept, "bits": kept["bits"][:-8]}, {**kept, "bits": "?"}):
        with pytest.raises(StoreError, match="mask of a record is corrupt"):
            unpack_mask(broken, len(train))
    with pytest.raises(StoreError, match="not of 480 images"):
        unpack_mask(kept, 480)
    clean = Store(pairs_store[0]).read_record(trial_of(pairs_store[0], "clean"))
    assert clean["mask"] is None, "nothing to tell where all or none are protected"


def test_a_clean_trial_has_no_cards(images_store, tmp_path, capsys):
    assert explain(images_store, "clean", tmp_path, CONTENT) == 0
    check_pictures(tmp_path, ("attention", "curves", "features"))
    said = capsys.readouterr().out
    assert "no cards: this trial publishes its pictures as they are" in said
    assert "no clean victim beside this one: it saw clean data itself" in said


def test_a_damaged_victim_is_named_and_trained_again(images_store):
    subject, environment = subject_of(images_store, "random", CONTENT)
    said: list[str] = []
    progress = Progress()
    progress.say = said.append  # type: ignore[method-assign]
    first, told = victims.recover_victim(subject, environment, progress)
    assert "trained the victim again" in told and "is not there: the victim is trained again" in said[0]
    path = Path(environment.open_store().path("victims", f"{subject.trial.id}.safetensors"))
    content = bytearray(path.read_bytes())
    content[-3] ^= 255
    path.write_bytes(bytes(content))
    again, told = victims.recover_victim(subject, environment, progress)
    assert "checksum" in said[-1] and "trained the victim again" in told
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_second_training_that_differs_is_told():
    assert victims.compare({"a": 1.0, "best": {"a": 2}}, {"a": 1.0, "best": {"a": 2}}).endswith(
        "its record says"
    )
    assert "a 2.0 (record: 1.0)" in victims.compare({"a": 1.0}, {"a": 2.0})
    assert "in earlier epochs" in victims.compare({"best": {"a": 1}}, {"best": {"a": 2}})


def test_without_captum_the_others_are_drawn(pairs_store, tmp_path, capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("captum"):
            raise ImportError("no captum")
        return real(name, *rest, **named)

    for name in [name for name in sys.modules if name.startswith("captum")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert explain(pairs_store[0], "random", tmp_path, pairs_store[1]) == 1
    check_pictures(tmp_path, ("cards", "curves", "features"))
    assert "no attention: " in (said := capsys.readouterr().out) and "pip install 'ue-bench[explain]'" in said


def test_mistakes_are_told(pairs_store, tmp_path):
    store, _ = pairs_store
    here = f"store={store}"
    for words, message in (
        ([here], "trial= is missing"),
        (["trial=f", here, "trail=f"], "did you mean 'trial'"),
        (["trial=zzz", here], "there is no trial 'zzz' in store"),
        (["trial=a", f"store={tmp_path / 'empty'}"], "it holds none"),
        (["trial=", here], "trial= is missing"),
        (["trial=f", here, "count=0"], "count= must be a whole number from 1 to 24"),
        (["trial=f", here, "trial=g"], "given twice"),
        ([f"trial={trial_of(store, 'marker', 'failed')}", here], "no ink.*no victim to explain"),
    ):
        with pytest.raises(ConfigError, match=message):
            explain_command(words)
    with pytest.raises(ConfigError, match="trials begin with ''.*is random \\(pair\\), shapes, clip_tiny"):
        find_record(Store(store), "")


def test_what_is_gone_or_changed_is_told(pairs_store, tmp_path):
    store, plugin = pairs_store
    copy = tmp_path / "copy"
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns("noise", "victims"))
    with pytest.raises(StoreError, match="run the suite again in this store"):
        explain(str(copy), "marker", tmp_path / "out", plugin)
    record = dict(Store(store).read_record(trial_of(store, "marker")) or {})
    shutil.copytree(f"{store}/noise", copy / "noise")
    config = {**record["config"], "test_fingerprint": "0" * 16}
    with pytest.raises(DataError, match=f"the test set of shapes has the fingerprint .*saw {'0' * 16}"):
        load_subject({**record, "config": config}, Environment(str(copy), "cpu", (plugin,)))
    (copy / "trials" / f"{record['id']}.json").unlink()
    with pytest.raises(ConfigError, match="planned .* no readable record yet"):
        find_record(Store(copy), record["id"])
    assert read_trial(record["config"]).id == record["id"]


def test_samples_are_what_the_trainer_sees(pairs_store):
    subject, environment = subject_of(pairs_store[0], "marker", pairs_store[1])
    towers = victims.build_victim(subject.trial, environment)
    test, clean, published = pair_samples(subject, towers, 6, 2)
    assert len(test) == len(clean) == len(published) == 12 and clean.groups.tolist() == [
        i // 2 for i in range(12)
    ]
    assert len(subject.protected) == 48, "half of 48 pictures with two captions each"
    change = published.images.short() - clean.images.short()
    assert bool(change.flatten(1).any(dim=1).all()) and int(change.abs().max()) == 8
    whole = [f"zebra lantern {text}" for text in clean.texts]
    assert published.triggers == ("zebra lantern",) * 12 and set(clean.triggers) == {""}
    assert torch.equal(published.tokens, towers.tokenize(whole)[:, : published.tokens.shape[1]])
    assert published.marked.tolist() == [2] * 12 and clean.marked.tolist() == [0] * 12
    words = caption_words(published, 0)
    assert [word.marked for word in words] == [True, True] + [False] * len(clean.texts[0].split())
    ids = torch.full((96, 3), 320)
    tokens = dataclasses.replace(subject.perturbation, triggers=None, trigger_tokens=ids)
    by_token = pair_samples(dataclasses.replace(subject, perturbation=tokens), towers, 2, 1)[2]
    assert by_token.marked.tolist() == [3, 3] and by_token.tokens[:, 1:4].tolist() == [[320] * 3] * 2
    assert by_token.triggers[0] == "a a a"
    one, other = sample_examples(subject, towers, 3)
    assert len(one) == len(other) == 3 and one.groups.tolist() == [0, 1, 2]


def test_samples_of_classes(images_store, make_images):
    subject, _ = subject_of(images_store, "fragile", CONTENT)
    test, clean, published = image_samples(subject, 3, 4)
    assert clean.groups.tolist() == test.groups.tolist() == [0] * 4 + [2] * 4 + [3] * 4
    assert (
        clean.texts[4] == "lower left"
        and int((published.images.short() - clean.images.short()).abs().max()) == 8
    )
    assert len(image_samples(subject_of(images_store, "clean", CONTENT)[0], 3, 4)) == 2
    mixed = dataclasses.replace(
        subject,
        trial=dataclasses.replace(subject.trial, poison_ratio=0.25),
        split=Split(data := make_images(8, 2), data),
        perturbation=Perturbation(
            torch.ones(8, 3, 32, 32).to(torch.int8), torch.arange(8), Budget("linf", 8)
        ),
    )
    assert len(mixed.protected) == 2 and sorted(data.labels[mixed.protected].tolist()) == [0, 1]
    assert spread(5, 3).tolist() == [0, 2, 4] and spread(2, 9).tolist() == [0, 1] and len(spread(0, 3)) == 0


def test_curves_stand_beside_the_clean_control(pairs_store):
    store = Store(pairs_store[0])
    record = store.read_record(trial_of(store.address, "marker"))
    control = find_control(store, record)
    assert control["method"] == "clean" and find_control(store, control) is None
    other = {**record, "config": {**record["config"], "seed": 5}}
    assert find_control(store, other) is None
    panels = curves_of(record, control)
    assert list(panels) == ["training loss", "median rank (MedR)", "Hit@10 (%)"]
    assert [line.name for line in panels["training loss"]] == ["marker (pair)", "clean control"]
    ranks = panels["median rank (MedR)"]
    assert [(line.name, line.way) for line in ranks[1:4:2]] == [
        ("marker (pair)", "text to image"),
        ("clean control", "text to image"),
    ]
    assert ranks[0].points == tuple(enumerate(record["curves"]["retrieval"]["i2t_medr"]))
    assert ranks[-1].name == "guessing" and [epoch for epoch, _ in ranks[-1].points] == [0, 2]
    assert panels["training loss"][0].points[0] == (1, record["curves"]["train_loss"][0])
    assert curves_of({"method": "a"}, None) == {}
