"""Defaults that depend on the paradigm: real values in instances, ids as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ue_bench import Count, Method, Positive
from ue_bench.canonical import plain
from ue_bench.describe import describe
from ue_bench.registry import Registry

REGISTRY = Registry()
RESULTS = Path(__file__).parents[2] / "results"


@dataclass(frozen=True)
class Base(Method):
    """Two sets of defaults."""

    rounds: Count = 50
    step: Positive = 0.8
    follows: float | None = None
    free: int = 1

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "contrastive": {"rounds": 5, "step": 1.0, "follows": 3.0}
    }

    def protect(self, view, context):
        raise NotImplementedError


@dataclass(frozen=True)
class Derived(Base):
    """Another number of rounds on pairs; the rest is inherited."""

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"contrastive": {"rounds": 7}}


def test_an_instance_holds_the_values_of_its_paradigm():
    one, other = Base.for_paradigm("supervised", free=2), Base.for_paradigm("contrastive", free=2)
    assert (one.rounds, one.step, one.follows, one.free) == (50, 0.8, None, 2)
    assert (other.rounds, other.step, other.follows, other.free) == (5, 1.0, 3.0, 2)
    assert Derived.for_paradigm("contrastive").rounds == 7 and Derived.for_paradigm("contrastive").step == 1.0
    assert Base.for_paradigm("contrastive", rounds=50).rounds == 50, "what is said comes first"


def test_defaults_are_recorded_as_none_and_read_back():
    method = Base.for_paradigm("contrastive", step=0.8)
    recorded = method.recorded("contrastive")
    assert (recorded["rounds"], recorded["step"], recorded["follows"], recorded["free"]) == (
        None,
        0.8,
        None,
        1,
    )
    assert Base.for_paradigm("contrastive", **recorded) == method
    assert Base.for_paradigm("supervised").recorded("supervised")["rounds"] is None


def test_what_is_changed_is_told_against_the_paradigms_default():
    assert Base.for_paradigm("contrastive").changed_parameters("contrastive") == {}
    assert Base.for_paradigm("contrastive", rounds=50).changed_parameters("contrastive") == {"rounds": 50}


def test_committed_records_keep_their_parameters():
    """Every method of the records, made for its paradigm, is hashed as it was when it was measured."""
    seen: dict[str, tuple[str, str, dict]] = {}
    for path in sorted(RESULTS.glob("*/trials/*.json")):
        trial = json.loads(path.read_text())["config"]
        choice, paradigm = trial["method"], trial["paradigm"]
        seen[json.dumps([choice, paradigm])] = choice["name"], paradigm, choice["parameters"]
    assert {name for name, _, _ in seen.values()} >= {"em", "tap", "uap", "mem", "random"}
    for name, paradigm, given in seen.values():
        method = REGISTRY.create("methods", name, given, paradigm)
        again, defaults = plain(method.recorded(paradigm)), method.defaults_in(paradigm)
        for key, value in given.items():  # the oldest records hold the defaults themselves
            assert again[key] == value or (again[key] is None and value == defaults[key]), f"{name}.{key}"


def test_show_tells_both_sets():
    """UAP takes fewer iterations on pairs than its base class says, and the rest from there."""
    lines = describe(REGISTRY.find("methods", "uap")).splitlines()
    told = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert "iterations = 250, contrastive 8 " in told["iterations"]
    assert "surrogate = 'resnet18', contrastive 'clip_rn50' " in told["surrogate"]
    assert "restarts = 8 " in told["restarts"] and "contrastive" not in told["restarts"]
