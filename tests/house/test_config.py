"""Configuration: what words mean, which layer wins, and what mistakes are told."""

from __future__ import annotations

import pytest

from ue_bench.config import compose, parse_words, read_suite
from ue_bench.errors import ConfigError
from ue_bench.measures import FLOORS, headlines, table_metrics
from ue_bench.trials.plan import make_recipe
from ue_bench.words import number

CONTENT = {
    "dataset": ["shapes"],
    "method": ["em"],
    "victim": ["resnet_tiny"],
    "recipe": "tiny",
    "seeds": 3,
    "parameters": {"em": {"rounds": 10}},
    "default_profile": "laptop",
    "profiles": {
        "laptop": {"recipe": {"epochs": 5}, "parameters": {"em": {"steps": 4}}},
        "smoke": {"seeds": 1, "dataset": "digits"},
    },
}
NAMES = ("em", "shapes", "resnet_tiny")


def build(*words: str):
    return compose("mine", CONTENT, parse_words(words), NAMES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        ("3", 3),
        ("0.5", 0.5),
        ("5e-4", 5e-4),
        ("[a,b]", ["a", "b"]),
        ("true", True),
        ("name", "name"),
        ("linf:8/255", "linf:8/255"),
        ("null", None),
    ],
)
def test_words_are_read_as_a_person_means_them(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("method=[{em: {key: 007, rounds: 7}}]", [{"em": {"key": "007", "rounds": 7}}]),
        ("method={'em:x': {key: 1e3}}", {"em:x": {"key": "1e3"}}),
        ("parameters={em: {key: true, rounds: 1e3}}", {"em": {"key": "true", "rounds": 1e3}}),
        ("parameters={ar: {key: 1e3}}", {"ar": {"key": 1e3}}),
    ],
)
def test_text_inside_a_mapping_stays_as_typed(word, value):
    assert parse_words([word], ["em.key"])[word.partition("=")[0]] == value


@pytest.mark.parametrize("word", ["seeds", "=3", "a=[1", "x=1/0"])
def test_words_that_cannot_be_read(word):
    with pytest.raises(ConfigError):
        parse_words([word])


def test_the_command_line_wins_over_the_profile_and_that_over_the_suite():
    config = build()
    assert (config.profile, config.seeds, config.recipe) == ("laptop", 3, {"preset": "tiny", "epochs": 5})
    assert config.parameters == {"em": {"rounds": 10, "steps": 4}}
    config = build("profile=smoke", "em.rounds=2", "recipe.epochs=1", "poison_ratio=0.5")
    assert (config.seeds, config.dataset, config.poison_ratio) == (1, ["digits"], [0.5])
    assert config.parameters == {"em": {"rounds": 2}}
    assert config.recipe == {"preset": "tiny", "epochs": 1}
    assert build("recipe=standard").recipe == "standard"
    assert build("method=[ar,em]").method == ["ar", "em"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sedes=3", "unknown key 'sedes': did you mean 'seeds'"),
        ("profile=lptop", "did you mean 'laptop'"),
        ("emm.rounds=3", "unknown name 'emm': did you mean 'em'"),
        ("seeds=many", "seeds: .*many"),
        ("seeds=0", "seeds says how many and must be at least 1"),
        ("poison_ratio=1.5", "poison_ratio is a share between 0 and 1, not 1.5"),
        ("image_size=2", "image_size must be at least 8"),
        ("dataset=[]", "dataset is empty"),
        ("floors.clean=3", "unknown floor 'clean'"),
        (
            "table.metric=acuracy_last",
            "unknown metric of supervised .*'acuracy_last': did you mean 'accuracy_l",
        ),
        (
            "table.metrics=[accuracy_last,i2t_medr]",
            "unknown metric of supervised training in table 'i2t_medr'",
        ),
        ("table.rows=[metod]", "unknown dimension in table.rows 'metod': did you mean 'method'"),
        ("table.columns=[datset]", "unknown dimension in table.columns 'datset': did you mean 'dataset'"),
        ("controls={claen: clean}", "unknown role in controls 'claen': did you mean 'clean'"),
        ("published={victm: resnet18}", "unknown key of published 'victm': did you mean 'victim'"),
        ("floors.clean_accuracy={a: 1, a: 2}", "key 'a' is given twice"),
    ],
)
def test_mistakes_name_what_is_allowed(word, message):
    with pytest.raises(ConfigError, match=message):
        build(word)


def test_what_a_suite_may_ask_for_is_declared_once():
    accuracy, retrieval = table_metrics("supervised"), table_metrics("contrastive")
    assert accuracy[:2] == ("accuracy_last", "accuracy_best") and "i2t_medr" not in accuracy
    assert "mean5.t2i_hit@10" in retrieval and "accuracy_last" not in retrieval
    assert {"clean_accuracy", "train_accuracy", "clean_t2i_medr"} < set(FLOORS) and len(FLOORS) == 10
    assert headlines({"paradigm": "contrastive", "table": {"metric": "accuracy_last"}}) == ["i2t_hit@10"]


def test_tables_of_retrieval_show_retrieval():
    words = ["paradigm=contrastive", "table.metrics=[best.i2t_hit@10,mean5.t2i_medr,i2t_hit@1,protect_ms]"]
    assert len(build(*words).table.metrics) == 4
    with pytest.raises(ConfigError, match=r"'i2t_hit@11': did you mean .*'i2t_hit@1'"):
        build("paradigm=contrastive", "table.metric=i2t_hit@11")
    with pytest.raises(ConfigError, match="unknown metric of contrastive training in table 'accuracy_last'"):
        build("paradigm=contrastive", "table.metrics=[accuracy_last]")
    plan = {"paradigm": "contrastive", "table": vars(build("paradigm=contrastive").table)}
    assert headlines(plan) == ["i2t_hit@10"], "accuracy stands in no contrastive record"


@pytest.mark.parametrize(
    "text", ["${oc.env:HOME}", "a ${seeds} b", "\\${x}", "\\\\${", "${", "$x_{$", "${a:${b}}"]
)
def test_a_suite_reads_no_environment(text):
    content = {**CONTENT, "title": text, "parameters": {"em": {"rounds": text}}}
    made = compose("mine", content, {}, NAMES)
    assert (made.title, made.parameters["em"]["rounds"]) == (text, text)
    words = parse_words([f"title={text}", f"em:{text}.rounds=3"], ["em.title"])
    made = compose("mine", CONTENT, words, NAMES)
    assert (made.title, made.asked) == (text, [f"em:{text}".partition(".")[0]])


def test_suite_files_are_checked(tmp_path):
    path = tmp_path / "mine.yaml"
    for text, message in [
        ("datset: [a]\n", "unknown key in mine.yaml 'datset': did you mean 'dataset'"),
        ("profiles: {smoke: {sedes: 1}}\n", "profile 'smoke'.*'sedes'"),
        ("- a\n", "must hold keys and values"),
        ("a: [\n", "cannot be read"),
        ("profiles: [a]\n", "profiles in mine.yaml must hold names"),
        ("seeds: 1\nvictim: [a]\nseeds: 2\n", r"key 'seeds' is given twice \(line 3\)"),
        ("profiles:\n  smoke: {seeds: 1, seeds: 1}\n", r"key 'seeds' is given twice \(line 2\)"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_suite(path)


def test_recipes_by_name_and_field():
    assert make_recipe("no_augmentation").crop_padding == 0
    changed = make_recipe({"preset": "standard", "epochs": 3, "learning_rate": 1})
    assert (changed.epochs, changed.learning_rate, changed.weight_decay) == (3, 1.0, 5e-4)
    for word, message in [
        ("standart", "did you mean 'standard'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": "x"}, "must be a whole number"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make_recipe(word)


@pytest.mark.parametrize(
    ("words", "fallback"),
    [([], ""), (["dataset=other"], "laptop"), (["profile=smoke"], "laptop"), (["em.max_rounds=2"], "laptop")],
)
def test_a_run_knows_which_profile_works_where_its_own_choice_does_not(words, fallback):
    assert build(*words).fallback == fallback
