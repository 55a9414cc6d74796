"""Floors by dataset and by defense, and where a floor of training accuracy means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from reports import CLEAN, entry, record, seeds, world

from ue_bench.config import compose, parse_words, read_suite
from ue_bench.errors import ConfigError
from ue_bench.floors import check_floors
from ue_bench.registry import Registry
from ue_bench.report import build_report, render
from ue_bench.report.findings import floor_of, judge
from ue_bench.trials.plan import make_plan

REGISTRY = Registry([Path(__file__).parents[1] / "content"])
NAMES = [name for kind in ("methods", "victims", "datasets", "defenses") for name in REGISTRY.names(kind)]
NESTED = {"easy": {"none": 90, "jpeg": 80}, "hard": 20, "default": 40}
VICTIMS = {"vit": 30, "timm:one": {"jpeg": 20, "default": 25}, "easy": {"vit": 70}, "jpeg": 10}


@pytest.mark.parametrize(
    ("stated", "dataset", "defense", "floor"),
    [
        (50, "easy", "jpeg", 50),
        ({"none": 50, "jpeg": 40, "default": 35}, "easy", "none", 50),
        ({"none": 50, "jpeg": 40, "default": 35}, "easy", "jpeg", 40),
        ({"none": 50, "jpeg": 40, "default": 35}, "easy", "jpeg+mixup", 35),
        ({"none": 50, "jpeg+mixup": 40}, "easy", "jpeg+mixup", 40),
        ({"none": 50}, "easy", "jpeg", None),
        ({"easy": 80, "hard": 20}, "hard", "jpeg", 20),
        ({"easy": 80, "hard": 20}, "other", "jpeg", None),
        (NESTED, "easy", "none", 90),
        (NESTED, "easy", "jpeg", 80),
        (NESTED, "easy", "mixup", 40),
        (NESTED, "hard", "mixup", 20),
        (NESTED, "other", "jpeg", 40),
        ({"easy": {"default": 70, "jpeg": 0}}, "easy", "jpeg", 0),
        ({"easy": {"default": 70}}, "easy", "jpeg", 70),
        ({}, "easy", "none", None),
    ],
)
def test_the_floor_of_a_trial(stated, dataset, defense, floor):
    assert floor_of(stated, entry(dataset=dataset, defense=defense)) == floor


@pytest.mark.parametrize(
    ("dataset", "victim", "defense", "floor"),
    [
        ("easy", "vit", "none", 70),
        ("easy", "net", "jpeg", 10),
        ("hard", "vit", "jpeg", 30),
        ("hard", "timm:one", "jpeg", 20),
        ("hard", "timm:one", "none", 25),
        ("hard", "timm:two", "none", None),
        ("hard", "net", "jpeg", 10),
    ],
)
def test_victims_come_after_datasets_and_before_defenses(dataset, victim, defense, floor):
    assert floor_of(VICTIMS, entry(dataset=dataset, victim=victim, defense=defense)) == floor


def test_each_victim_is_held_to_its_own_clean_floor():
    values = [
        pair
        for victim in ("net", "vit")
        for pair in [*seeds({**CLEAN, "victim": victim}, [60.0]), *seeds({"victim": victim}, [10.0])]
    ]
    table = {"rows": ["method"], "columns": ["victim"], "metric": "accuracy_last"}
    report = build_report(*world(values, floors={"clean_accuracy": {"net": 55, "vit": 65}}, table=table))
    assert [cell.marks for cell in report.rows[1].cells.values()] == [(), ("invalid",)]


def test_no_defense_may_be_absent_from_an_old_plan():
    assert floor_of({"none": 50}, {"dataset": "easy"}) == 50


def test_each_defense_is_held_to_its_own_clean_floor():
    values = [
        pair
        for defense, clean in (("none", 85.0), ("jpeg", 60.0), ("blur", 60.0))
        for pair in [*seeds({**CLEAN, "defense": defense}, [clean]), *seeds({"defense": defense}, [10.0])]
    ]
    floors = {"clean_accuracy": {"none": 80, "jpeg": 55, "default": 70}}
    table = {"rows": ["method"], "columns": ["defense"], "metric": "accuracy_last"}
    report = build_report(*world(values, floors=floors, table=table))
    marks = {column[0]: cell.marks for column, cell in report.rows[1].cells.items()}
    assert marks == {"none": (), "jpeg": (), "blur": ("invalid",)}
    assert "tiny, net, blur: the clean victim reaches 60.00 %, the floor is 70 %" in render(
        report, "markdown"
    )


def test_training_accuracy_is_no_failure_where_it_is_not_comparable():
    floors = {"train_accuracy": 50.0}
    plain, mixed = entry(), entry(comparable_training=False)
    old = {key: value for key, value in plain.items() if key != "comparable_training"}
    for trial, undertrained in (
        (plain, True),
        (old, True),
        (entry(comparable_training=True), True),
        (mixed, False),
    ):
        outcome = judge(trial, record(trial, 80.0, train=31.0), "accuracy_last", floors)
        assert bool(outcome.undertrained) == undertrained and outcome.counts == (not undertrained)


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        (
            {"clean_accuracy": {"jepg": 40}},
            r"unknown dataset, victim or defense in floors\.clean_accuracy 'jepg'.*'jpeg'",
        ),
        ({"clean_accuracy": {"blobs": {"non": 40}}}, r"floors\.clean_accuracy\.blobs 'non'.*'none'"),
        ({"clean_accuracy": {"linaer": 40}}, r"floors\.clean_accuracy 'linaer'.*'linear'"),
        ({"clean_accuracy": {"jpeg+grey": 40}}, "unknown defense 'grey'"),
        ({"clean_accuracy": {"none": "forty"}}, r"floors\.clean_accuracy\.none must be a number.*'forty'"),
        ({"train_accuracy": True}, "must be a number"),
    ],
)
def test_misspelt_floors_are_found_before_any_work(floors, message):
    with pytest.raises(ConfigError, match=message):
        check_floors(floors, REGISTRY)


def test_floors_that_name_what_there_is_pass():
    check_floors({"clean_accuracy": {"blobs": {"none": 50, "jpeg+grayscale": 30}, "default": 20}}, REGISTRY)
    check_floors({"clean_accuracy": {"linear": 50, "timm:convnext_atto": {"blobs": 30}}}, REGISTRY)
    check_floors({"clean_accuracy": 50, "train_accuracy": {"default": 50.5}}, REGISTRY)


def test_suites_and_words_may_state_them():
    def floors(*words: str) -> dict:
        content = read_suite(REGISTRY.find("suites", "toy").path)
        content = {**content, "floors": {"clean_accuracy": 50, "train_accuracy": {"none": 50}}}
        return make_plan(compose("toy", content, parse_words(words), NAMES), REGISTRY, "").header["floors"]

    assert floors() == {"clean_accuracy": 50, "train_accuracy": {"none": 50}}
    stated = floors("floors.clean_accuracy={none: 50, default: 35}", "floors.train_accuracy=10")
    assert stated == {"clean_accuracy": {"none": 50, "default": 35}, "train_accuracy": 10}
    stated = floors("floors.train_accuracy={linear: 60}", "floors.clean_accuracy={linear: 40}")
    assert stated == {"clean_accuracy": {"linear": 40}, "train_accuracy": {"none": 50, "linear": 60}}
    with pytest.raises(ConfigError, match="did you mean 'none'"):
        floors("floors.clean_accuracy={nome: 50}")
