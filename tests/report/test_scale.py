"""Work that grows with the number of trials and no faster: reads of a store, comparisons of a report."""

from __future__ import annotations

import pytest
from scale import fill, made_plan, made_record, measured, read, report

from ue_bench.canonical import dumps, dumps_plain
from ue_bench.report import build_report, layout, render, validity
from ue_bench.report.figures import style
from ue_bench.trials import store as stores
from ue_bench.trials.store import Store

COUNT = 600  # ten methods in sixty places


@pytest.mark.parametrize(
    ("module", "name", "most"),
    [(validity, "place", 12), (layout, "_changed", 6)],  # calls for each trial
)
def test_a_report_compares_each_trial_with_its_own_place_only(monkeypatch, module, name, most):
    calls = []
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda trial: calls.append(1) or real(trial))
    plan = made_plan(COUNT)
    made = build_report(plan, {trial["id"]: made_record(trial) for trial in plan["trials"]})
    assert len(made.findings) == COUNT and 0 < len(calls) <= most * COUNT


def test_a_page_names_the_arms_of_a_suite_once(monkeypatch):
    calls = []
    real = style.arm_of
    monkeypatch.setattr(style, "arm_of", lambda report, cell: calls.append(1) or real(report, cell))
    plan = made_plan(200)
    made = build_report(plan, {trial["id"]: made_record(trial) for trial in plan["trials"]})
    assert len(made.rows) == 200 and "method9" in render(made, "html")
    assert 0 < len(calls) <= 6 * 200


def test_a_record_that_is_as_it_was_written_is_neither_parsed_twice_nor_written_again(tmp_path, monkeypatch):
    fill(tmp_path, 30)
    (plan,) = Store(tmp_path).read_plans()
    monkeypatch.setattr(stores, "json", None)
    monkeypatch.setattr(stores, "dumps_plain", None)
    records = list(
        Store(tmp_path).read_records((trial["id"] for trial in plan["trials"]), later=True).values()
    )
    assert len(records) == 30
    victims = [record["config"]["victim"] for record in records]
    same = next(other for other in victims[1:] if other == victims[0])
    assert same is victims[0], "what records have in common is kept once"
    curves = made_record(plan["trials"][3])["curves"]
    assert records[3]["curves"] == curves and len(curves) == 3
    assert records[3]["curves"] is not records[4]["curves"] != curves


def test_each_record_is_read_once(tmp_path, monkeypatch):
    fill(tmp_path, 30)
    opened = []
    real = Store.read
    monkeypatch.setattr(Store, "read", lambda self, *parts: opened.append(parts) or real(self, *parts))
    plan, records = read(tmp_path)
    assert len(records) == len(plan["trials"]) == 30 and len(opened) == len(set(opened)) == 30 + 1
    record = Store(tmp_path).read_record(plan["trials"][1]["id"])
    assert dumps(record) == dumps_plain(record), "checksums of what was read are those of what was written"


def test_the_script_measures_in_a_process_of_its_own(tmp_path):
    fill(tmp_path, 20)
    assert "core-seconds" in measured(report, tmp_path)
    assert "method3" in (tmp_path / "page.md").read_text()
