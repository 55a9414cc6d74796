"""Victims that start where a method's surrogate did: equal weights, and marked as diagnostic wherever they stand."""

from __future__ import annotations

import torch

from ue_bench.config import compose, parse_words, read_suite
from ue_bench.contracts.context import Context
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.report import build_report, render
from ue_bench.report.verdicts import sentence
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import build_victim
from ue_bench.trials.making import _context
from ue_bench.trials.needs import starts_apart
from ue_bench.trials.plan import make_plan

REGISTRY = Registry()
NAMES = [name for kind in ("methods", "victims", "datasets", "defenses") for name in REGISTRY.names(kind)]


def plan(*words: str):
    content = read_suite(REGISTRY.find("suites", "shared_start").path)
    return make_plan(
        compose("shared_start", content, parse_words(["profile=smoke", *words]), NAMES), REGISTRY, ""
    )


def test_both_start_with_equal_weights_and_a_fresh_victim_does_not(tmp_path):
    made, environment = plan(), Environment(str(tmp_path), "cpu")
    fresh, shared = (
        next(t for t in made.trials if t.method.name == "em" and t.victim.parameters.get("init") == init)
        for init in (None, "surrogate")
    )
    context: Context = _context(shared.seed, "protect", environment, Progress(), shared.method, "noise-x")
    surrogate = context.surrogate("clip_tiny", 0, (32, 32)).state_dict()
    same, other = (build_victim(trial, environment).state_dict() for trial in (shared, fresh))
    assert all(torch.equal(value, same[name]) for name, value in surrogate.items())
    assert not all(torch.equal(value, other[name]) for name, value in surrogate.items())
    assert shared.noise_key == fresh.noise_key and shared.id != fresh.id


def test_tables_mark_it_and_neither_ranks_nor_sentences_count_it():
    header = plan("seeds=3").header
    records = {}
    for trial in header["trials"]:
        shared = trial["diagnostic"]
        value = {"clean": 50.0, "random": 50.0}.get(trial["control"], 1.0 if shared else 49.0)
        metrics = {f"{way}_{name}": value for way in ("i2t", "t2i") for name in ("hit@10", "medr")}
        notes = {"remarks": ["diagnostic, no result: why"]} if shared else {}
        records[trial["id"]] = {"id": trial["id"], "status": "done", "metrics": metrics, "notes": notes}
    arms = {(trial["method"], trial["diagnostic"]): trial for trial in header["trials"]}
    assert arms["em", True]["control"] == "diagnostic" and arms["em", False]["control"] is None
    assert arms["em", True]["published_names"] == [] and arms["em", False]["published_names"] == ["EM"]
    report = build_report(header, records)
    text = render(report, "markdown")
    assert "§ diagnostic, no result: why" in text
    (row,) = [line for line in text.splitlines() if "init=surrogate" in line and "| em" in line][:1]
    assert "§" in row and "**1.00" not in row
    words = sentence(report, report.measured, lambda row: row.trial["method"], lambda row, column: "")
    assert "em does not" in words and "em protects" not in words


def test_methods_whose_surrogate_starts_elsewhere_are_left_out_with_the_reason():
    victim = REGISTRY.create("victims", "clip_tiny", {"init": "surrogate"})
    small = REGISTRY.create("victims", "clip_tiny", {"init": "surrogate", "channels": 8})
    em = REGISTRY.create("methods", "em", {"surrogate": "clip_tiny"}, "contrastive")
    assert starts_apart(em, victim) == ""
    assert "another channels" in starts_apart(em, small)
    assert "clip_rn50" in starts_apart(REGISTRY.create("methods", "em", {}, "contrastive"), victim)
    assert "not drawn" in starts_apart(REGISTRY.create("methods", "t2ue"), victim)
    assert "another" not in starts_apart(REGISTRY.create("methods", "random"), victim)
    assert starts_apart(REGISTRY.create("methods", "t2ue"), REGISTRY.create("victims", "clip_tiny")) == ""
    assert "init" not in REGISTRY.create("victims", "clip_tiny").recorded(), "ids of before stay"
