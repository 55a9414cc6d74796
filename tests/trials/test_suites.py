"""Every suite of ours: what its file says first, and that its profiles make sense."""

from __future__ import annotations

import re

import pytest

from ue_bench.config import compose, read_suite
from ue_bench.errors import UEBenchError
from ue_bench.floors import check_floors
from ue_bench.registry import Registry
from ue_bench.report.findings import floor_of
from ue_bench.trials.making import prepare_key
from ue_bench.trials.plan import make_plan, make_recipe

REGISTRY = Registry()
NAMES = [name for kind in ("methods", "victims", "datasets", "defenses") for name in REGISTRY.names(kind)]
SUITES = REGISTRY.names("suites")


@pytest.mark.parametrize("name", SUITES)
def test_the_file_opens_with_command_source_cost_and_what_to_expect(name):
    head = REGISTRY.find("suites", name).path.read_text().split("\n\n")[0]
    assert f"#   ue-bench run suite={name}" in head
    for word in ("Source", "Cost", "Expect"):
        assert re.search(rf"^# {word}: ", head, re.MULTILINE), word


@pytest.mark.parametrize("name", SUITES)
def test_clean_data_and_random_noise_are_always_arms(name):
    controls = read_suite(REGISTRY.find("suites", name).path)["controls"]
    assert controls["clean"] == "clean" and "random" in controls["random"]


@pytest.mark.parametrize("name", SUITES)
def test_every_profile_names_what_exists(name):
    """All but the data, which not every machine has."""
    content = read_suite(REGISTRY.find("suites", name).path)
    for profile in content["profiles"]:
        config = compose(name, content, {"profile": profile, "mem.bert": "FOLDER"}, NAMES)
        make_recipe(config.recipe, config.paradigm)
        check_floors(config.floors, REGISTRY)
        for kind in ("dataset", "method", "victim", "defense"):
            for word in getattr(config, kind):
                found, given = next(iter(word.items())) if isinstance(word, dict) else (word, {})
                stored = {**(config.parameters.get(found) or {}), **(given or {})}
                REGISTRY.create(f"{kind}s", found, stored)


@pytest.mark.parametrize("name", SUITES)
def test_class_wise_methods_stand_beside_random_noise_per_class(name):
    """Random signs for each class alone end at chance on CIFAR-10; what does a method add?"""
    content = read_suite(REGISTRY.find("suites", name).path)
    for profile in set(content["profiles"]) - {"smoke"}:
        config = compose(name, content, {"profile": profile, "mem.bert": "FOLDER"}, NAMES)
        given = [next(iter(word.items())) if isinstance(word, dict) else (word, {}) for word in config.method]
        by_class = {method for method, values in given if (values or {}).get("granularity") == "class"}
        assert not by_class or "random" in by_class, profile


@pytest.mark.parametrize("profile", ["laptop", "paper"])
@pytest.mark.parametrize("name", ["supervised", "defenses_full"])
def test_every_method_on_labels_stands_in_the_tables_of_all_methods(name, profile):
    content = read_suite(REGISTRY.find("suites", name).path)
    config = compose(name, content, {"profile": profile}, NAMES)
    rows = [next(iter(word.items())) if isinstance(word, dict) else (word, {}) for word in config.method]
    methods = {word: REGISTRY.load("methods", word) for word in REGISTRY.names("methods") if word != "file"}
    wanted = {
        word
        for word, method in methods.items()
        if "supervised" in method.paradigms and word not in ("clean", "clean_share")
    }
    assert wanted == {word for word, _ in rows}
    assert ("rem", {"stable": True}) in rows, "SEM"


@pytest.mark.parametrize(
    "name", ["supervised", "supervised_transfer", "poison_ratio", "augmentation_defenses", "training_curves"]
)
def test_at_paper_size_the_datasets_of_the_field_have_a_clean_floor(name):
    content = read_suite(REGISTRY.find("suites", name).path)
    config = compose(name, content, {"profile": "paper"}, NAMES)
    for victim in config.victim:
        floors = [
            floor_of(
                config.floors["clean_accuracy"], {"dataset": dataset, "victim": victim, "defense": "none"}
            )
            for dataset in ("cifar10", "cifar100", "stl10", "another")
        ]
        assert all(floors) and floors == sorted(floors, reverse=True)


@pytest.mark.parametrize("name", SUITES)
def test_the_smallest_profile_can_be_planned(name):
    content = read_suite(REGISTRY.find("suites", name).path)
    plan = make_plan(compose(name, content, {"profile": "smoke"}, NAMES), REGISTRY, "command")
    methods = {trial.method.name for trial in plan.trials}
    assert {"clean", "random"} < methods and len({trial.seed for trial in plan.trials}) == 1


@pytest.fixture
def nothing_at_hand(monkeypatch):
    """No data set and no network."""

    def refuse(*_, **__):
        raise OSError("network unreachable")

    monkeypatch.delenv("UE_BENCH_DATA", raising=False)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def plan_default(name):
    content = read_suite(REGISTRY.find("suites", name).path)
    return make_plan(compose(name, content, {}, NAMES), REGISTRY, "command")


@pytest.mark.parametrize("name", SUITES)
def test_the_default_profile_needs_no_data_and_no_network(name, nothing_at_hand):
    plan = plan_default(name)
    assert plan.header["profile"] == "quick"
    assert {trial.dataset.name for trial in plan.trials} <= EMBEDDED | {"rewritten"}
    assert all(trial.victim.name.endswith("_tiny") for trial in plan.trials)
    assert {"clean", "random"} < {trial.method.name for trial in plan.trials}


EMBEDDED = {"shapes", "faint_shapes", "digits", "drawings"}  # come with the package


@pytest.mark.parametrize(
    "words",
    [
        *(
            {"suite": "quickstart", "dataset": name}
            for name in REGISTRY.names("datasets")
            if name not in EMBEDDED
        ),
        *({"suite": name, "profile": "paper"} for name in SUITES if name != "quickstart"),
        {"suite": "quickstart", "profile": "laptop"},
    ],
    ids=lambda words: " ".join(words.values()),
)
@pytest.mark.parametrize("download", [True, False])
def test_where_data_or_weights_are_absent_the_error_ends_with_a_command_that_works(
    words, download, nothing_at_hand, monkeypatch, tmp_path
):
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path))
    content = read_suite(REGISTRY.find("suites", words["suite"]).path)
    with pytest.raises(UEBenchError) as caught:
        make_plan(compose(words["suite"], content, words, NAMES), REGISTRY, "command", download)
    command = str(caught.value).splitlines()[-1]
    assert command == f"Without it: ue-bench run suite={words['suite']} profile=quick"


def test_one_generator_serves_every_suite(nothing_at_hand):
    """T2UE's generator is trained once for a store: no suite's settings ask for another one."""
    keys = {
        prepare_key(
            trial.method, trial.seed, REGISTRY.create("methods", "t2ue", trial.method.parameters)
        ): name
        for name in SUITES
        for trial in plan_default(name).trials
        if trial.method.name == "t2ue"
    }
    assert len(keys) == 1, keys


@pytest.mark.parametrize("name", SUITES)
def test_no_profile_names_data_that_nobody_has(name):
    assert "cifar10_5k" not in re.sub(r"results/\w+", "", REGISTRY.find("suites", name).path.read_text())


@pytest.mark.parametrize("name", REGISTRY.names("methods"))
def test_what_is_small_on_a_laptop_is_small_in_the_default_profile_too(name):
    presets = REGISTRY.load("methods", name).presets
    for preset in presets:
        assert preset.replace("laptop", "quick") in presets, preset
