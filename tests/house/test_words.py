"""key=value words: one meaning in every command, whatever their order; paths and names stay as they were typed."""

from __future__ import annotations

import itertools
import math

import pytest

from ue_bench.config import compose, parse_words
from ue_bench.configure import configure
from ue_bench.errors import ConfigError
from ue_bench.trials.plan import make_recipe
from ue_bench.words import number, read_names, read_plugins, read_words, split_words

ODD = ("007", "no", "12:30", "1e3", "2024-01-01", "null", "true", "~", "8/255", "a b", "3")


@pytest.mark.parametrize("text", ODD)
def test_names_and_paths_stay_as_typed(text):
    words = [f"{key}={text}" for key in ("store", "device", "plugins", "dataset", "imagefolder.path")]
    given = parse_words(words, ["imagefolder.path"])
    assert given == {
        "store": text,
        "device": text,
        "plugins": [text],
        "dataset": text,
        "imagefolder.path": text,
    }
    assert read_names(f"[{text},b]") == [text, "b"] and read_plugins(f"[{text},b]") == (text, "b")


def test_a_run_keeps_them_too():
    words = ["suite=quickstart", "store=007", "imagefolder.path=1e3", "dataset=[imagefolder]"]
    config, _ = configure(words)
    assert config.store == "007" and config.parameters["imagefolder"]["path"] == "1e3"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("007", "007"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("1e3", 1000.0),
        ("5.5e-4", 5.5e-4),
        ("-3", -3),
        (".inf", math.inf),
        ("False", False),
        ("", None),
        ("[1,{a: 2}]", [1, {"a": 2}]),
    ],
)
def test_numbers_are_what_looks_like_one(text, value):
    assert number(text) == value and type(number(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["[", "{a: 1, a: 2}", "&a [*a]", "!!python/name:os.system", "1/0", "[" * 5000]
)
def test_what_cannot_be_read_is_told(text):
    with pytest.raises(ConfigError):
        number(text)


def test_a_word_is_given_once():
    with pytest.raises(ConfigError, match="seeds= is given twice, as '1' and '2': leave one out"):
        split_words(["seeds=1", "seeds=2"])
    with pytest.raises(ConfigError, match="trial= is missing. Usage: ue-bench explain trial=ID"):
        read_words(["store=a"], {"trial": "", "store": "runs"}, ("trial",), "ue-bench explain trial=ID")


CONTENT = {"dataset": ["shapes"], "method": ["em"], "victim": ["resnet_tiny"], "recipe": {"batch_size": 8}}


def build(*words: str):
    inner = ("recipe.epochs", "recipe.momentum", "em.max_rounds", "ar.max_rounds")
    return compose("mine", CONTENT, parse_words(words), ("em", "ar", "shapes"), inner)


def test_the_order_of_words_never_matters():
    words = ("recipe.epochs=1", "recipe=standard", "seeds=2", "em.rounds=3", "parameters={em: {steps: 4}}")
    configs = [build(*order) for order in itertools.permutations(words)]
    assert all(config == configs[0] for config in configs)
    assert configs[0].recipe == {"preset": "standard", "epochs": 1}
    assert configs[0].parameters == {"em": {"rounds": 3, "steps": 4}} and configs[0].asked == ["em"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recipe={epochs: 2}", "recipe.epochs=1"], "recipe.epochs is given twice, as 2 and 1"),
        (["em.rounds=1", "parameters={em: {rounds: 2}}"], "parameters.em.rounds is given twice"),
        (["parameters=5", "em.rounds=1"], "parameters must hold keys and values, not '5'"),
        (["parameters=5"], "parameters must hold keys and values, not '5'"),
        (["parameters={em: [1]}"], r"parameters.em must hold parameters and values, not \[1\]"),
        (["recipe=[1,2]"], r"recipe is a preset's name, or .*, not \[1, 2\]"),
        (["recipe=5"], "recipe is a preset's name"),
        (["recipe="], "recipe is a preset's name"),
        (["seeds=99999999999999999999999"], "at least 1 and at most 1000"),
        (["seed=99999999999999999999999"], "seed must have at most 63 bits"),
        (["image_size=100000"], "at least 8 pixels and at most 4096, not 100000"),
        (["time_limit=.nan"], "time_limit is in seconds and above 0, not nan"),
        (["time_limit=.inf"], "time_limit is in seconds and above 0, not inf"),
        (["store="], "store= is empty: leave it out for store=runs"),
        (["epoches=3"], "unknown key 'epoches': did you mean 'recipe.epochs'"),
        (["max_round=3"], r"did you mean 'em.max_rounds'\?"),
        (["profiles=quick"], r"unknown key 'profiles': did you mean 'profile'( or '\w+')*\? See"),
    ],
)
def test_mistakes_are_told(words, message):
    with pytest.raises(ConfigError, match=message):
        build(*words)


def test_what_only_a_suite_may_say_is_not_suggested():
    with pytest.raises(ConfigError) as caught:
        build("profiles=x")
    assert "did you mean 'profile'" in str(caught.value) and "mean 'profiles'" not in str(caught.value)


def test_recipes_read_the_same_from_words_and_files():
    assert make_recipe(build("recipe.epochs=1", "recipe=standard").recipe).epochs == 1
