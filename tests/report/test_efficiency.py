"""What noise costs, as a table and as a break-even (T2UE, table 8)."""

from __future__ import annotations

from reports import CLEAN, WIDE, entry, record

from ue_bench.measures import lookup, measure
from ue_bench.report import build_report, render
from ue_bench.report.efficiency import break_even

SPENT = {  # hours: (prepare, protect)
    "text": (10.0, 1.0),
    "surrogate": (2.0, 1.0),  # trained on each dataset anew
    "search": (0.0, 3.0),
    "cheap": (0.0, 0.5),
}


def made(**changes):
    trials = [entry(**CLEAN)] + [entry(method=name, prepares_once=name == "text") for name in SPENT]
    records = {trials[0]["id"]: record(trials[0], 90.0)}
    for trial in trials[1:]:
        prepare, protect = SPENT[trial["method"]]
        seconds = {"prepare": 3600 * prepare, "protect": 3600 * protect, "train": 1.0, "evaluate": 1.0}
        noise = {"key": trial["id"], "prepare_key": trial["id"], "changed_images": 9000, "psnr_db": 30.0}
        records[trial["id"]] = record(trial, 10.0, seconds=seconds, device_seconds=seconds, noise=noise)
    table = {
        "rows": ["method"],
        "columns": ["dataset"],
        "metrics": ["prepare_hours", "protect_hours", "protect_ms"],
    }
    plan = {
        "suite": "cost",
        "paradigm": "supervised",
        "table": table,
        "trials": trials,
        "floors": {},
        **changes,
    }
    return build_report(plan, records)


def test_costs_are_read_from_the_record():
    outcome = next(o for o in made().findings if o.trial["method"] == "search")
    assert lookup(outcome.record, "protect_hours") == 3.0
    assert lookup(outcome.record, "protect_ms") == 3 * 3600 * 1000 / 9000
    assert lookup(made().findings[0].record, "protect_hours") is None, "clean data has no noise to pay for"
    assert measure("protect_hours").direction == "lower is cheaper"


def test_break_even_counts_what_each_dataset_costs():
    """10 h once and 1 h a dataset: against 3 h a dataset even after 10 / 2 = 5, with a surrogate's 2 + 1 h alike."""
    notes = break_even(made().findings)
    assert [note.split(" against ")[1] for note in notes] == [
        "surrogate (image), tiny (3 h a dataset) after 5 datasets of this size",
        "search (image), tiny (3 h a dataset) after 5 datasets of this size",
    ], "never against one that is cheaper"


def test_the_table_has_the_costs_and_the_break_even():
    text = render(made(), "markdown", WIDE)
    assert "prepare (hours)" in text and "10.0000" in text and "1200.0" in text
    assert "paid for its preparation" in text and "lower is cheaper" in text


def test_two_settings_of_one_method_are_two_rivals():
    """The mean of MEM-3's and MEM-5's hours is neither's."""
    trials = [entry(method="text", prepares_once=True)]
    trials += [entry(method="search", chosen={"length": [k, 3]} if k != 3 else {}) for k in (3, 5)]
    trials = [{**trial, "id": str(number)} for number, trial in enumerate(trials)]
    spent = {"0": (10.0, 1.0), "1": (0.0, 3.0), "2": (0.0, 6.0)}
    records = {}
    for trial in trials:
        prepare, protect = spent[trial["id"]]
        seconds = {"prepare": 3600 * prepare, "protect": 3600 * protect}
        noise = {"key": trial["id"], "prepare_key": trial["id"], "changed_images": 9}
        records[trial["id"]] = record(trial, 10.0, seconds=seconds, device_seconds=seconds, noise=noise)
    table = {"rows": ["method"], "columns": ["dataset"], "metrics": ["prepare_hours", "protect_hours"]}
    plan = {"suite": "cost", "paradigm": "supervised", "table": table, "trials": trials, "floors": {}}
    text = render(build_report(plan, records), "markdown", WIDE)
    assert "against search (image), tiny (length=3) (3 h a dataset) after 5 datasets" in text
    assert "against search (image), tiny (length=5) (6 h a dataset) after 2 datasets" in text
