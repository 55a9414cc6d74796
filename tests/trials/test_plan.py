"""Plans: what is crossed, what is skipped and why, what makes a trial another trial."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from ue_bench.config import compose, parse_words, read_suite
from ue_bench.contracts.content import Content
from ue_bench.errors import ConfigError, UnavailableError
from ue_bench.reading import Parameter
from ue_bench.registry import Registry
from ue_bench.trials.plan import Plan, make_plan
from ue_bench.trials.trial import Choice, Trial

REGISTRY = Registry([Path(__file__).parents[1] / "content"])
NAMES = [name for kind in ("methods", "victims", "datasets", "defenses") for name in REGISTRY.names(kind)]


def plan(*words: str) -> Plan:
    content = read_suite(REGISTRY.find("suites", "toy").path)
    return make_plan(compose("toy", content, parse_words(words), NAMES), REGISTRY, "command")


def test_controls_are_always_there():
    """Rule 2: every suite trains the same victim on clean data and on random noise of the same budget."""
    header = plan("method=fragile", "epsilon=4/255").header
    assert [(trial["control"], trial["budget"]) for trial in header["trials"]] == [
        ("clean", "none (no noise)"),
        ("random", "Linf 4/255"),
        (None, "Linf 4/255"),
    ]


def test_ids_change_with_all_that_can_change_a_result():
    base = {trial.id for trial in plan().trials}
    for word in (
        "seed=1",
        "recipe.epochs=3",
        "blobs.count=32",
        "image_size=24",
        "defense=grayscale",
        "victim=resnet_tiny",
    ):
        assert not base & {trial.id for trial in plan(word).trials}, word
    again = plan("device=cpu", "store=elsewhere", "profile=")
    assert {trial.id for trial in again.trials} == base, "where and when it runs is no part of the trial"


def test_poison_ratio_does_not_touch_noise_or_clean_training():
    one, half = plan(), plan("poison_ratio=0.5")
    assert one.trials[0].id == half.trials[0].id
    assert [trial.noise_key for trial in one.trials] == [trial.noise_key for trial in half.trials]
    assert one.trials[2].id != half.trials[2].id


def test_seeds_count_from_the_first():
    assert sorted({trial.seed for trial in plan("seeds=3", "seed=4").trials}) == [4, 5, 6]


def test_what_makes_no_sense_is_skipped_with_its_reason():
    skipped = plan("method=[fragile,random]", "granularity=pair").skipped
    assert [item["what"] for item in skipped] == ["fragile"]
    assert "image-wise and class-wise noise only, not pair-wise" in skipped[0]["reason"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["paradigm=contrastive"], "nothing is left to do.*contrastive"),
        (["paradigm=other"], "unknown paradigm"),
        (["method=fragil"], "did you mean 'fragile'"),
        (["victim=resnet81"], "did you mean 'resnet18'"),
        (["defense=grayscal"], "did you mean 'grayscale'"),
        (["dataset=blob"], "did you mean 'blobs'"),
        (["granularity=clas"], "unknown granularity"),
        (["cutout.side=3"], "'cutout' has parameters set, but takes no part"),
        (["epsilon=8.5"], "whole number of steps"),
        (["fragile.granularity=pair"], "makes image and class"),
        (["method=[[a]]"], "cannot read"),
    ],
)
def test_mistakes_are_found_before_any_work(words, message):
    with pytest.raises(ConfigError, match=message):
        plan(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe.learning_rate=.inf"], "recipe.learning_rate must be a finite number above 0, not inf"),
        (["recipe.epochs=.nan"], "recipe.epochs must be a whole number, not nan"),
        (["victim=resnet_tiny", "resnet_tiny.channels=-4"], "resnet_tiny.channels must be at least 1"),
        (["method=em", "em.max_rounds=.inf"], "em.max_rounds must be a whole number, not inf"),
    ],
)
def test_numbers_that_no_trial_could_use_are_found_at_planning(words, message):
    with pytest.raises(ConfigError, match=message):
        plan(*words)


def test_only_the_command_lines_parameters_must_take_part():
    """A suite may set parameters for content that this run leaves out; a person's typing error is told."""
    content = {**read_suite(REGISTRY.find("suites", "toy").path), "parameters": {"cutout": {"side": 8}}}
    assert make_plan(compose("toy", content, {}, NAMES), REGISTRY, "command").trials
    with pytest.raises(ConfigError, match="takes no part in this run"):
        make_plan(compose("toy", content, parse_words(["cutout.side=4"]), NAMES), REGISTRY, "command")


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ("{clean: synper}", "synper cannot be the control 'clean'.*; say clean$"),
        ("{clean: random}", "random cannot be the control 'clean'"),
        ("{clean: clean_share}", "clean_share cannot be the control 'clean'"),
        ("{clean: {em: {budget: 'linf:0'}}}", "em"),
        ("{random: clean}", "clean cannot be the control 'random'.*; say random$"),
        ("{random: em}", "em cannot be the control 'random'"),
        (
            "{random: {random: {budget: 'linf:0'}}}",
            "random.budget must be an linf or l2 or l0 budget above 0",
        ),
        ("{share: clean}", "clean cannot be the control 'share'.*; say clean_share$"),
    ],
)
def test_only_controls_can_be_controls(controls, message):
    """A table whose clean arm is protected would show every method as harmless."""
    with pytest.raises(ConfigError, match=message):
        plan(f"controls={controls}")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cutuot": {"side": 8}}, "unknown name in parameters 'cutuot': did you mean 'cutout'"),
        ({"cutout": {"sid": 8}}, "unknown parameter of 'cutout' 'sid': did you mean 'side'"),
        ({"timn:resnet18": {}}, "unknown name in parameters 'timn:resnet18'"),
        ({"cutout+jpg": {}}, "unknown defense 'jpg'"),
    ],
)
def test_a_suites_parameters_must_exist(parameters, message):
    content = {**read_suite(REGISTRY.find("suites", "toy").path), "parameters": parameters}
    with pytest.raises(ConfigError, match=message):
        make_plan(compose("toy", content, {}, NAMES), REGISTRY, "command")


def test_victims_and_defenses_that_are_changed_are_told():
    """A table must not pass an easier attack, or a smaller victim, for the usual one."""
    found = plan("defense=[none,jpeg+cutout]", "jpeg.quality=30", "method=[]").header["trials"]
    assert [entry["adjusted"] for entry in found] == [
        {},
        {},
        {"jpeg": {"quality": [30, 10]}},
        {"jpeg": {"quality": [30, 10]}},
    ]
    tiny = plan("victim=resnet_tiny", "resnet_tiny.stem_stride=1").header["trials"][0]
    assert tiny["adjusted"] == {"resnet_tiny": {"stem_stride": [1, 2]}}


def test_two_settings_of_one_defense_or_victim_are_two_things():
    """Otherwise a cell would hold the mean of two attacks, and one clean control would vouch for both."""
    two = "defense=[none,{jpeg: {quality: 10}},{jpeg: {quality: 30}}]"
    found = plan(two, "victim=[resnet_tiny]", "method=[]").header["trials"]
    told = [(entry["defense"], entry.get("settings")) for entry in found if entry["control"] == "clean"]
    assert told == [
        ("none", None),
        ("jpeg", {"defense": "quality=10"}),
        ("jpeg", {"defense": "quality=30"}),
    ]
    joint = "defense=[{jpeg+cutout: {jpeg: {quality: 30}}},jpeg+cutout]"
    settings = {entry["settings"]["defense"] for entry in plan(joint, "method=[]").header["trials"]}
    assert settings == {"jpeg.quality=30", "jpeg.quality=10"}
    victims = "victim=[resnet_tiny,{resnet_tiny: {stem_stride: 1}}]"
    settings = {entry["settings"]["victim"] for entry in plan(victims, "method=[]").header["trials"]}
    assert settings == {"stem_stride=2", "stem_stride=1"}


def test_a_file_with_other_content_is_another_trial(tmp_path):
    """A checkpoint that is trained on and saved again under its name must not answer with the old results."""

    @dataclass(frozen=True)
    class Reader(Content):
        weights: str = ""
        files: ClassVar[frozenset[str]] = frozenset({"weights"})

    file, folder = tmp_path / "a.safetensors", tmp_path / "model"
    assert Reader().edition() == 1 and Reader(str(file)).edition() == 1, "absent: whoever reads it tells"
    file.write_bytes(b"first")
    first = Reader(str(file)).edition()
    assert str(first).startswith("1+")
    (tmp_path / "b.safetensors").write_bytes(b"first")
    assert Reader(str(tmp_path / "b.safetensors")).edition() == first
    file.write_bytes(b"second")
    assert Reader(str(file)).edition() != first
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    whole = Reader(str(folder)).edition()
    (folder / "weights").write_bytes(b"x")
    assert Reader(str(folder)).edition() != whole


def test_fields_that_name_files_are_declared():
    for kind in ("methods", "victims", "defenses"):
        for name in REGISTRY.names(kind):
            content = REGISTRY.load(kind, name)
            fields = {field.name for field in dataclasses.fields(content) if field.type == "str"}
            assert content.files <= fields
            assert {field for field in fields if field.endswith("checkpoint")} <= content.files, name


def test_random_noise_is_an_arm_at_every_budget_that_takes_part_and_at_no_other():
    def budgets(*methods: str, size: int = 32) -> list[str]:
        found = plan(f"method=[{','.join(methods)}]", f"image_size={size}").header["trials"]
        return [trial["budget"] for trial in found if trial["control"] == "random"]

    assert budgets("synper", "em", "uc") == ["Linf 8/255", "L2 1.304", "Linf 16/255"]
    assert budgets("synper") == ["L2 1.304"]
    assert budgets("fragile") == ["Linf 8/255"]
    # sqrt(3 * 16 * 16) * 6 / 255 = 0.65207: budgets that follow the size have a control that does, too
    assert budgets("synper", "em", size=16) == ["Linf 8/255", "L2 0.6521"]


def test_what_shows_the_part_of_a_method_is_no_method():
    """Random noise per class stands among the methods of a suite, and is a control all the same."""
    words = "method=[{random: {granularity: class}},{random: {granularity: class, distribution: uniform}},em]"
    found = plan(words).header["trials"]
    assert [(entry["method"], entry["granularity"], entry["control"]) for entry in found] == [
        ("clean", "", "clean"),
        ("random", "image", "random"),
        ("random", "class", "ablation"),
        ("random", "class", "ablation"),
        ("em", "image", None),
    ]
    assert found[3]["chosen"] == {"distribution": ["uniform", "sign"]} and not found[3]["reduced"]


def test_a_budget_that_follows_the_size_is_the_stated_one_where_it_is_stated():
    """Random noise at 32 pixels keeps its id: its radius is the default's, to the last digit."""
    ours = [trial.method for trial in plan("method=synper", "image_size=32").trials]
    radius = next(choice for choice in ours if choice.name == "random").parameters["budget"]["radius"]
    assert radius == 1.304132372757743


def test_a_share_that_rounds_to_no_image_is_skipped():
    """Nothing poisoned must not pass as done."""
    found = plan("poison_ratio=[0.0001,1.0]")
    assert {trial["poison_ratio"] for trial in found.header["trials"]} == {0.0, 1.0}
    assert any("protects none" in item["reason"] for item in found.skipped)


def test_what_this_machine_cannot_do_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr("ue_bench.defenses.cutout.Cutout.unavailable", lambda self: "install scissors")
    with pytest.raises(UnavailableError, match="cutout: install scissors"):
        plan("defense=[none,cutout]")


def test_a_papers_variant_is_told_apart_but_not_reduced():
    """MEM-1 at the paper's settings is not less than the paper."""
    content = read_suite(REGISTRY.find("suites", "clip_retrieval").path)
    words = parse_words(["profile=smoke", "method=[{mem: {granularity: pair, trigger_length: 1}}]"])
    header = make_plan(compose("clip_retrieval", content, words, NAMES), REGISTRY, "command").header
    (entry,) = [entry for entry in header["trials"] if entry["method"] == "mem"]
    assert entry["chosen"] == {"trigger_length": [1, 3]}
    assert "rounds" in entry["reduced"] and "trigger_length" not in entry["reduced"]


def test_a_papers_settings_are_called_so_only_where_the_paper_has_them():
    """EM's cap on rounds is ours, its batch size the authors' code's; on pairs it has other defaults."""
    words = "method=[{em: {surrogate: resnet_tiny, batch_size: 64, max_rounds: 2}}]"
    (entry,) = [entry for entry in plan(words).header["trials"] if entry["method"] == "em"]
    assert entry["sources"] == {"surrogate": "paper", "batch_size": "code", "max_rounds": "default"}
    assert entry["reduced"]["batch_size"] == [64, 512]
    content = read_suite(REGISTRY.find("suites", "clip_retrieval").path)
    words = parse_words(["profile=smoke", "method=[{em: {granularity: pair}}]"])
    header = make_plan(compose("clip_retrieval", content, words, NAMES), REGISTRY, "command").header
    (entry,) = [entry for entry in header["trials"] if entry["method"] == "em"]
    assert entry["reduced"]["model_steps"] == [2, 50]


@pytest.mark.parametrize(
    ("comment", "source"),
    [
        ("steps of 1/255; paper. Contrastive: 8, MEM's code", "paper"),
        ("images; authors' codes", "code"),
        ("None: 0, moco 1 (released)", "code"),
        ("our cap, the paper has none", "default"),
        ("rotation only: training epochs; ours", "default"),
        ("sgd; the field's usual value", "default"),
        ("class (the paper's CP-C) or image", "default"),
    ],
)
def test_the_comment_says_whose_a_default_is(comment, source):
    assert Parameter("rounds", "int", "1", comment).source == source


def test_ids_are_those_that_stores_hold_records_under():
    """A change of this hash would orphan every record and every noise that was ever made."""

    def choice(name, **parameters):
        return Choice(name, parameters)

    trial = Trial(
        paradigm="supervised",
        dataset=choice("shapes", train_images=5000),
        image_size=32,
        train_fingerprint="aaaa",
        test_fingerprint="bbbb",
        method=choice("m", budget={"norm": "linf", "radius": 8.0, "signs": "both"}, granularity="class"),
        victim=choice("v"),
        defense=choice("none"),
        recipe={"epochs": 3, "learning_rate": 0.1},
        poison_ratio=0.5,
        seed=7,
    )
    assert (trial.id, trial.noise_key) == ("b0199f23588a5200", "5dc51910396c5e33")
