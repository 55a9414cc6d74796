"""Defenses joined by +: order, parameters of each part, what is refused."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pickle
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from ue_bench import Defense
from ue_bench.cli import main
from ue_bench.composition import merge_parameters, preset_of
from ue_bench.config import compose, parse_words, read_suite
from ue_bench.conformance import Subject, defense_keeps_the_form
from ue_bench.contracts.composed import STAGES, Composed
from ue_bench.errors import ConfigError
from ue_bench.registry import Registry
from ue_bench.trials.environment import Environment
from ue_bench.trials.plan import Plan, make_plan

REGISTRY = Registry([Path(__file__).parents[1] / "content"])
NAMES = [name for kind in ("methods", "victims", "datasets", "defenses") for name in REGISTRY.names(kind)]


def create(name: str, **parameters) -> Composed:
    return REGISTRY.create("defenses", name, parameters)


def plan(*words: str) -> Plan:
    content = read_suite(REGISTRY.find("suites", "toy").path)
    return make_plan(compose("toy", content, parse_words(words), NAMES), REGISTRY, "command")


def noise(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


@dataclasses.dataclass(frozen=True)
class Scribe(Defense):
    """Appends its mark to whatever passes through any hook."""

    mark: int = 0
    seen: list = dataclasses.field(default_factory=list)

    def images_once(self, images):
        return self._write("images_once", images)

    def batch(self, images, targets, generator):
        return self._write("batch", images), targets / 2

    def attack(self, model, images, targets, generator):
        return self._write("attack", images)

    def fit_once(self, images, labels, generator):
        return self._write("fit_once", images)

    def captions(self, captions, generator):
        return [f"{text}{self.mark}" for text in captions]

    def pairs(self, images, captions, generator):
        return self._write("pairs", images), [f"{text}{self.mark}" for text in captions]

    def attack_pairs(self, loss, images, generator):
        return self._write("attack_pairs", images)

    def _write(self, hook, images):
        self.seen.append((hook, images.tolist()))
        return torch.cat([images, torch.tensor([self.mark])])


@dataclasses.dataclass(frozen=True)
class Texts(Defense):
    """For captions only."""

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def captions(self, captions, generator):
        return captions[::-1]


def composed(**parts: Defense) -> Composed:
    """The parts as one defense, each as if its class stood in a file of this name."""
    named = [
        type(type(part).__name__, (type(part),), {"__module__": name})(**vars(part))
        for name, part in parts.items()
    ]
    return Composed(tuple(named))


def test_every_hook_of_the_contract_is_passed_on_in_order():
    """A hook that the contract gains must be composed too."""
    members = vars(Defense).items()
    hooks = [name for name, member in members if inspect.isfunction(member) and not name.startswith("_")]
    assert set(hooks) - {"in_epoch", "held_out", "clean_images"} == {
        name for stages in STAGES for name in stages
    }
    assert set(hooks) <= set(vars(Composed))
    both = composed(one=Scribe(1), two=Scribe(2))
    empty, generator = torch.tensor([], dtype=torch.int64), torch.Generator()
    assert both.images_once(empty).tolist() == both.fit_once(empty, empty, generator).tolist() == [1, 2]
    images, targets = both.batch(empty, torch.ones(1), generator)
    assert images.tolist() == [1, 2] and targets.tolist() == [0.25]
    assert both.attack(torch.nn.Identity(), empty, targets, generator).tolist() == [1, 2]
    assert both.captions(["a"], generator) == ["a12"]
    images, texts = both.pairs(empty, ["b"], generator)
    assert images.tolist() == [1, 2] and texts == ["b12"]
    assert both.attack_pairs(lambda shown: shown.sum(), empty, generator).tolist() == [1, 2]


def test_the_order_of_the_words_is_the_order_of_application():
    images = noise()
    jpeg, gray = (REGISTRY.create("defenses", name) for name in ("jpeg", "grayscale"))
    one, two = create("jpeg+grayscale").images_once(images), create("grayscale+jpeg").images_once(images)
    assert torch.equal(one, gray.images_once(jpeg.images_once(images)))
    assert torch.equal(two, jpeg.images_once(gray.images_once(images)))
    assert not torch.equal(one, two)


def test_names_in_an_order_that_cannot_be_kept_are_refused():
    """Squeezes act once, before any batch; attacks come last."""
    for wrong, right in (("cutout+jpeg", "jpeg"), ("adversarial_training+cutout", "cutout")):
        with pytest.raises(ConfigError, match=rf"acts before .* so name '{right}' first"):
            create(wrong)
    create("jpeg+cutout+adversarial_training")


@dataclasses.dataclass(frozen=True)
class Fitting(Defense):
    """Learns something that is not whole, for its first epoch only replaces the loss, and says so."""

    late: bool = False

    def fit_once(self, images, labels, generator):
        return images.float() + labels.float().mean() - 300.25

    def in_epoch(self, epoch, epochs):
        return dataclasses.replace(self, late=epoch > 0)

    def loss(self, model, images, targets, cross_entropy, generator):
        return torch.tensor(float(self.late)), targets


def test_one_that_fits_takes_its_place_in_the_order():
    """What comes after it and works on 8 bits gets 8 bits; only one part has the loss."""
    images, labels, generator = torch.full((2, 3, 1, 1), 250, dtype=torch.uint8), torch.tensor([60, 60]), None
    gray = REGISTRY.create("defenses", "grayscale")
    last, first = composed(grayscale=gray, fitting=Fitting()), composed(fitting=Fitting(), grayscale=gray)
    assert last.fits and not composed(one=gray, two=REGISTRY.create("defenses", "jpeg")).fits
    assert last.fit_once(images, labels, generator).unique().tolist() == [
        249 + 60 - 300.25
    ]  # luma of 250: 249
    squeezed = first.fit_once(images, labels, generator)
    assert squeezed.dtype == torch.uint8 and squeezed.unique().tolist() == [9]  # 9.75 is 10, of luma 9.998
    for epoch, late in ((0, 0.0), (1, 1.0)):
        acting = first.in_epoch(epoch, 2)
        assert float(acting.loss(None, images, labels, None, generator)[0]) == late
    with pytest.raises(ConfigError, match="one and two of defense 'one.two' each replace the loss"):
        composed(one=Fitting(), two=Fitting())


def test_two_that_mix_labels_compose():
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    targets = torch.eye(8)
    both = create("mixup+cutmix", cutmix={"probability": 1.0})
    _, goals = both.batch(images, targets, torch.Generator().manual_seed(5))
    assert torch.allclose(goals.sum(1), torch.ones(8), atol=1e-6)
    assert int((goals > 0.01).sum(1).max()) > 2, "more than two pictures meet in one"
    assert not both.comparable_training
    assert create("jpeg+grayscale").comparable_training


@pytest.mark.parametrize(
    "name", ["jpeg+grayscale", "bit_depth+cutout+mixup", "gaussian_noise+autoaugment", "randaugment+cutmix"]
)
def test_composed_defenses_keep_the_promises_of_the_contract(name):
    defense = create(name)
    defense_keeps_the_form(Subject(name, defense, Environment(store="", device="cpu")))
    assert pickle.loads(pickle.dumps(defense)) == defense == create(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        defense.parts = ()


def test_parameters_reach_their_part_and_come_back():
    defense = create("jpeg+bit_depth", jpeg={"quality": 30})
    assert defense.parameters() == {"jpeg": {"quality": 30}, "bit_depth": {"bits": 2}}
    assert defense.changed_parameters() == {"jpeg": {"quality": 30}}
    assert REGISTRY.create("defenses", "jpeg+bit_depth", defense.parameters()) == defense
    assert isinstance(defense, REGISTRY.load("defenses", "jpeg+bit_depth"))


def test_a_change_of_any_part_is_a_change_of_the_whole():
    class Newer(Scribe):
        version: ClassVar[int] = 3

    assert composed(a=Scribe(), b=Scribe()).version == 1
    assert composed(a=Scribe(), b=Newer()).version == 3


def test_files_of_a_part_are_files_of_the_whole(tmp_path):
    """Other content in them gives other results, so trials must not be taken for done."""

    @dataclasses.dataclass(frozen=True)
    class Reader(Scribe):
        files: ClassVar[frozenset[str]] = frozenset({"words"})
        words: str = ""

    path = tmp_path / "words.txt"
    without = composed(a=Reader(), b=Scribe()).edition()
    assert without == composed(a=Scribe(), b=Scribe()).edition() == 1
    editions = set()
    for text in ("one", "two"):
        path.write_text(text)
        both = composed(a=Reader(words=str(path)), b=Scribe())
        editions |= {both.edition(), Composed(both.parts[::-1]).edition()}
    assert len(editions) == 2 and all(str(edition).startswith("1+") for edition in editions)


def test_presets_of_a_paradigm_and_profile_come_first(monkeypatch):
    jpeg = REGISTRY.load("defenses", "jpeg")
    presets = {"laptop": {"quality": 20}, "contrastive laptop": {"quality": 30}}
    monkeypatch.setattr(jpeg, "presets", presets, raising=False)

    def quality(profile: str, paradigm: str = "", given=None) -> int:
        found = {"jpeg": preset_of(jpeg, profile, paradigm)}
        merged = merge_parameters("jpeg+grayscale", given or {}, {}, found)
        return merged["jpeg"].get("quality")

    assert quality("laptop", "contrastive") == 30
    assert quality("laptop", "supervised") == quality("laptop") == 20
    assert quality("paper", "contrastive") is None
    assert quality("laptop", "contrastive", given={"jpeg": {"quality": 40}}) == 40


def test_paradigms_are_those_that_all_parts_share():
    assert create("jpeg+grayscale").paradigms == frozenset({"supervised"})
    assert composed(a=Texts(), b=Texts()).paradigms == frozenset({"contrastive"})
    with pytest.raises(ConfigError, match="share no paradigm: a: supervised; b: contrastive"):
        composed(a=Scribe(), b=Texts())


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("jpg+grayscale", {}, r"unknown defense 'jpg': did you mean 'jpeg'\?.*ue-bench list defenses"),
        ("jpeg+jpeg", {}, "names 'jpeg' twice"),
        ("jpeg+", {}, "empty part"),
        ("none+jpeg", {}, "'none' does nothing in defense 'none\\+jpeg': leave it out"),
        (
            "jpeg+grayscale",
            {"jpg": {}},
            "unknown part of defense 'jpeg\\+grayscale' 'jpg': did you mean 'jpeg'",
        ),
        ("jpeg+grayscale", {"jpeg": 30}, "must hold the parameters of 'jpeg', not 30"),
        ("jpeg+grayscale", {"jpeg": {"qality": 1}}, "did you mean 'quality'"),
        ("jpeg+grayscale", {"jpeg": {"quality": 0}}, "1 to 100"),
    ],
)
def test_mistakes_are_named(name, parameters, message):
    with pytest.raises(ConfigError, match=message):
        REGISTRY.create("defenses", name, parameters)


def test_plans_hold_one_choice_whose_every_change_changes_the_id():
    base = plan("defense=jpeg+grayscale").trials[0]
    assert base.defense.name == "jpeg+grayscale"
    assert base.defense.parameters == {"jpeg": {"quality": 10}, "grayscale": {}}
    changed = [
        ("defense=jpeg+grayscale", "jpeg.quality=30"),
        ("defense={jpeg+grayscale: {jpeg: {quality: 30}}}",),
        ("defense=jpeg+grayscale", "parameters={jpeg+grayscale: {jpeg: {quality: 30}}}"),
    ]
    ids = {plan(*words).trials[0].id for words in changed}
    assert len(ids) == 1 and base.id not in ids
    others = {plan(f"defense={name}").trials[0].id for name in ("grayscale+jpeg", "jpeg", "grayscale")}
    assert len(others | ids | {base.id}) == 5


def test_plans_say_what_is_wrong_before_any_work():
    for words, message in (
        (["defense=jpg+grayscale"], "did you mean 'jpeg'"),
        (["defense={jpeg+grayscale: {quality: 30}}"], "unknown part of defense"),
        (["defense=jpeg+grayscale", "cutout.side=3"], "'cutout' has parameters set, but takes no part"),
        (["defense=jpeg+grayscale", "jpeg.quality=0"], "1 to 100"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(*words)


def test_a_defense_of_another_paradigm_is_skipped_with_its_reason(monkeypatch):
    """Nothing left: an error. Something left: a line in the plan."""
    with pytest.raises(ConfigError, match=r"nothing is left to do.*contrastive"):
        plan("defense=jpeg+grayscale", "paradigm=contrastive")
    jpeg = REGISTRY.load("defenses", "jpeg")
    monkeypatch.setattr(jpeg, "paradigms", frozenset({"contrastive", "supervised"}))
    gray = REGISTRY.load("defenses", "grayscale")
    monkeypatch.setattr(gray, "paradigms", frozenset({"contrastive"}))
    made = plan("defense=[jpeg,jpeg+grayscale]")
    assert {trial.defense.name for trial in made.trials} == {"jpeg"}
    assert {item["reason"] for item in made.skipped} == {
        "jpeg+grayscale is for contrastive training, not supervised"
    }


def test_reports_learn_whether_training_accuracy_counts():
    told = {
        e["defense"]: e["comparable_training"] for e in plan("defense=[none,jpeg+mixup]").header["trials"]
    }
    assert told == {"none": True, "jpeg+mixup": False}


def test_a_run_with_composed_defenses_fills_a_table(command, tmp_path):
    ended = command("run", "suite=toy", "method=fragile", "defense=[none,jpeg+grayscale]", "jpeg.quality=50")
    assert ended.status == 0, ended.err
    assert sum("jpeg+grayscale" in line for line in ended.out.splitlines() if line.startswith("|")) == 3
    records = [json.loads(path.read_text()) for path in (tmp_path / "store" / "trials").iterdir()]
    kept = [r["config"]["defense"] for r in records if r["config"]["defense"]["name"] == "jpeg+grayscale"]
    assert kept and all(
        defense["parameters"] == {"jpeg": {"quality": 50}, "grayscale": {}} for defense in kept
    )


def test_show_tells_of_every_part(capsys):
    with pytest.raises(SystemExit) as end:
        main(["show", "defense", "jpeg+bit_depth"])
    out = capsys.readouterr().out
    assert not end.value.code
    assert "in this order: jpeg, then bit_depth" in out
    assert "jpeg.quality = 10" in out and "bit_depth.bits = 2" in out


def test_one_hacker_chooses_the_epoch_by_one_set_of_images():
    both = REGISTRY.create("defenses", "jpeg+early_stopping", {"early_stopping": {"images": 7}})
    assert both.stops and both.holds_clean and both.held_out(100) == 7
    assert both.recorded() == {"jpeg": {"quality": 10}, "early_stopping": {"clean": 0.05, "images": 7}}
    held = REGISTRY.create("defenses", "jpeg+held_out_stopping", {})
    assert held.held_out(100) == 10 and not held.holds_clean
    assert not REGISTRY.create("defenses", "jpeg+grayscale", {}).stops
    share = REGISTRY.create("defenses", "jpeg+early_stopping", {}).recorded()
    assert share["early_stopping"] == {"clean": 0.05}, "ids are those from before there was a number"
    with pytest.raises(ConfigError, match="early_stopping and held_out_stopping.*each choose the epoch"):
        REGISTRY.create("defenses", "early_stopping+held_out_stopping", {})
