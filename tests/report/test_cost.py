"""The bill: what was spent and what is to come, by phase, method and cell, added up by hand."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from conftest import CONTENT
from reports import CLEAN, cells_of, entry, plan, record, seeds, world

from ue_bench.errors import ConfigError
from ue_bench.report.bill import check_in_words, make_bill
from ue_bench.report.bill_formats import _grouped, render_bill
from ue_bench.report.cost import Check, spent_pieces, totals
from ue_bench.report.page import View

CPU, GPU = {"type": "cpu", "name": "Some CPU", "threads": 2}, {"type": "cuda", "name": "Some GPU"}


def piece(phase, of, seconds, source="records", **changes):
    noise = "n" if phase in ("prepare", "protect") else ""
    device = None if seconds is None else 2 * seconds
    line = {
        "phase": phase,
        "id": of["id"],
        "method": of["method"],
        "noise": noise,
        "source": source,
        "why": "",
    }
    return {**line, "seconds": seconds, "device_seconds": device, **changes}


def lines(bill, by):
    return {line.name: (line.spent.seconds, line.predicted.seconds) for line in bill.lines if line.by == by}


def small():
    """Clean is done; of two victims on one noise the first is done; a second seed of both is to come."""
    made = {**{"granularity": "image"}, "victim": "net"}
    pairs = [
        *seeds(CLEAN, [90.0]),
        *seeds(made, [10.0, None]),
        *seeds({**made, "victim": "vit"}, [11.0, None]),
    ]
    missing = [trial for trial, found in pairs if found is None]
    coming = [
        piece("protect", missing[0], 3600.0, "scaled records"),
        *(piece(phase, of, s) for of in missing for phase, s in (("train", 40.0), ("evaluate", 1.0))),
    ]
    return (*world(pairs), coming)


def test_every_way_of_adding_up_gives_the_same():
    bill = make_bill(*small(), CPU)
    assert lines(bill, "phase") == {
        "prepare": (5.0, 0.0),
        "protect": (3.0, 3600.0),
        "train": (120.0, 80.0),
        "evaluate": (3.0, 2.0),
    }, "the noise that two victims share, and its preparation, count once"
    assert lines(bill, "method") == {"plain": (41.0, 0.0), "mine": (90.0, 3682.0)}
    cells = lines(bill, "cell")
    assert list(cells) == [
        "plain, tiny, net",
        "mine (image), tiny, net, Linf 8/255",
        "mine (image), tiny, vit, Linf 8/255",
    ]
    assert list(cells.values()) == [(41.0, 0.0), (49.0, 3641.0), (41.0, 41.0)]
    assert lines(bill, "total") == {"all": (131.0, 3682.0)}
    assert bill.total.spent.device == {"core_seconds": 262 / 3600, "accelerator_seconds": 0.0}
    assert bill.total.predicted.device["core_seconds"] == pytest.approx(2 * 3682 / 3600)
    assert list(bill.total.predicted.sources) == ["scaled records", "records"]


def test_cores_and_accelerators_are_never_mixed():
    header, records, coming = small()
    bill = make_bill(header, records, coming, GPU)
    assert bill.total.predicted.device == {
        "core_seconds": 0.0,
        "accelerator_seconds": pytest.approx(2 * 3682 / 3600),
    }
    (row, *_) = cells_of(render_bill(bill, view=View(width=200)))
    predicted = ["predicted", "core-hours predicted", "GPU-hours predicted"]
    assert list(row) == ["by", "what", "spent", "core-hours", "GPU-hours", *predicted]
    assert "GPU-hours" not in render_bill(make_bill(*small(), CPU))


@pytest.mark.parametrize("format", ["markdown", "terminal"])
@pytest.mark.parametrize("width", [60, 90, 120])
def test_tables_fit_and_lose_nothing(format, width):
    pairs = [*seeds({"victim": "densenet_tiny+cutout+mixup", "dataset": "cifar10_5k"}, [10.0])]
    bill = make_bill(*world(pairs), [piece("train", pairs[0][0], 40.0)], CPU)
    text = render_bill(bill, format, View(width=width))
    longest = max(len(line) for line in text.splitlines() if not line.startswith(("#", "-")))
    assert longest <= width
    name = "mine (image), cifar10_5k, densenet_tiny+cutout+mixup, Linf 8/255"
    for word in ("total", "40.0 s", "records", *name.split()):
        assert word in text, "what a table cannot hold stands in the legend"


def test_columns_without_any_amount_are_left_out():
    done = make_bill(*world([*seeds({}, [10.0])]), [], CPU)
    assert list(cells_of(render_bill(done))[-1]) == ["by", "what", "spent", "core-hours"]
    trial = entry(0)
    coming = render_bill(make_bill(plan([trial]), {}, [piece("train", trial, 40.0)], CPU))
    assert list(cells_of(coming)[-1]) == ["by", "what", "predicted", "core-hours predicted"]
    assert "- Predicted from records (train)" in coming


def test_an_unknown_cost_makes_a_lower_bound():
    header, records, coming = small()
    coming[0] = {**coming[0], "seconds": None, "device_seconds": None, "source": "unknown", "why": "too slow"}
    bill = make_bill(header, records, coming, CPU)
    text = render_bill(bill)
    rows = {(row["by"], row["what"]): row for row in cells_of(text)}
    assert rows["phase", "protect"]["predicted"] == "unknown"
    assert rows["phase", "train"]["predicted"] == "80.0 s"
    assert rows["total", ""]["predicted"] == "≥ 82.0 s"
    assert "≥: a lower bound, because a part is unknown: too slow: protect of mine" in text
    found = json.loads(render_bill(bill, "json"))
    (total,) = [line for line in found["lines"] if line["by"] == "total"]
    assert (total["predicted"]["wall_seconds"], total["predicted"]["complete"]) == (82.0, False)
    (protect,) = [line for line in found["lines"] if line["name"] == "protect"]
    assert protect["predicted"]["wall_seconds"] is None, "no number is better than an invented one"


def test_csv_has_every_line_and_raw_numbers():
    bill = make_bill(*small(), CPU)
    rows = list(csv.DictReader(io.StringIO(render_bill(bill, "csv"))))
    assert [row["by"] for row in rows] == [line.by for line in bill.lines]
    assert float(rows[-1]["spent_wall_seconds"]) == 131.0
    assert rows[-1]["predicted_from"] == "scaled records, records"


def test_a_format_that_does_not_exist():
    with pytest.raises(ConfigError, match="unknown format 'latex'"):
        render_bill(make_bill(*small(), CPU), "latex")


def test_failed_trials_and_nothing_at_all():
    trial = entry(0)
    lost = record(trial, 1.0, status="failed", seconds={"train": 5.0})
    bill = make_bill(plan([trial]), {trial["id"]: lost}, [], CPU)
    assert (bill.done, bill.failed, bill.total.spent.seconds) == (0, 1, 5.0), "what failed was spent, too"
    assert "1 trials, 0 done, 1 to do (1 failed before)" in render_bill(bill)
    nothing = make_bill(plan([trial]), {trial["id"]: {**lost, "seconds": {}, "noise": None}}, [], CPU)
    assert nothing.total.spent.seconds == 0.0
    assert "1 failed trials are not in what was spent: their records hold no times" in render_bill(nothing)
    assert render_bill(make_bill(plan([]), {}, [], CPU), "csv").count("\n") == 2


def test_invalid_trials_were_spent_and_are_not_to_do():
    header, records, coming = small()
    one = next(key for key, made in records.items() if made["method"] == "mine")
    records[one] = {**records[one], "status": "invalid"}
    bill = make_bill(header, records, coming, CPU)
    assert (bill.done, bill.invalid, bill.todo) == (2, 1, 2)
    assert lines(bill, "total") == {"all": (131.0, 3682.0)}, "as if it counted"
    assert "5 trials, 2 done, 1 invalid, 2 to do" in render_bill(bill)
    assert json.loads(render_bill(bill, "json"))["trials"] == {
        **{"planned": 5, "done": 2, "invalid": 1, "failed": 0, "to_do": 2}
    }


def test_a_phase_of_a_method_belongs_to_its_noise():
    trials = [entry(0), entry(0, victim="vit")]
    made = [record(trial, 1.0) for trial in trials]
    for found in made:
        found["seconds"]["search"] = 4.0
    assert totals(made)["phases"]["search"]["wall_seconds"] == 4.0
    assert (
        sum(line["seconds"] for line in spent_pieces(made)) == totals(made)["wall_seconds"] == 5 + 3 + 82 + 4
    )


def test_how_a_forecast_fared_in_words():
    check = Check((738.0, 1440.0), (786.0, 1800.0), ("core_seconds",), 6, 2, ("records", "calibration"))
    assert check_in_words(check) == (
        "predicted 12.3 min, took 13.1 min (+7 %); 0.4 and 0.5 core-hours; 6 trainings and 2 noises, "
        "predicted from records, calibration"
    )


def test_the_commands_foretell_and_compare(command, tmp_path):
    store = f"store={tmp_path / 'store'}"
    words = ("suite=toy", store, f"plugins={CONTENT}")
    fresh = command("cost", *words, "--no-calibrate")
    assert fresh.status == 0 and "unknown" in fresh.out and not (tmp_path / "store").exists()
    asked = command("run", *words, "--dry-run")
    assert re.search(r"4 trials, 4 to do, (at least )?[0-9.]+ .*(s|min) \(calibration", asked.out)
    assert (
        "calibration: measuring 4 costs that are in no record" in asked.err
        and not (tmp_path / "store").exists()
    )
    assert "4 trials, 4 to do; nothing" in command("run", *words, "--dry-run", "--no-calibrate").out
    first = command("run", *words)
    assert "4 to do with 4 noises\n" in first.err and "- forecast:" not in first.out
    dry = command("run", *words, "seeds=2", "--dry-run").out
    assert re.search(r"8 trials, 4 to do, (at least )?[0-9.]+ .*(s|min) \(records", dry), (
        "nothing is left to measure"
    )
    bill = json.loads(command("cost", *words, "seeds=2", "--format", "json").out)
    total = bill["lines"][-1]
    assert bill["trials"] == {"planned": 8, "done": 4, "invalid": 0, "failed": 0, "to_do": 4}
    assert total["predicted"]["from"] == ["records"] and total["predicted"]["complete"]
    assert total["spent"]["core_hours"] > 0 and total["spent"]["gpu_hours"] == 0
    second = command("run", *words, "seeds=2")
    assert re.search(r"8 trials, 4 done, 4 to do with 4 noises, (at least )?[0-9.]+ .*\(records", second.err)
    assert "4 trainings and 3 noises, predicted from records" in second.out, "what this run did, no more"
    line = next(line for line in second.out.splitlines() if line.startswith("- forecast: predicted "))
    assert line in command("report", store).out
    assert line in command("run", *words, "seeds=2").out, "a run with nothing to do keeps it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cost"], "which suite? Say suite=NAME"),
        (["cost", "suite=quickstart", "--format", "latex"], "unknown format 'latex'"),
        (["cost", "suite=quickstart", "victim=resnet"], "did you mean"),
        (["report", "--format", "pdf"], "unknown format 'pdf'"),
    ],
)
def test_mistakes(command, words, message):
    ended = command(*words)
    assert ended.status == 2 and message in ended.err and "Traceback" not in ended.err


@pytest.mark.parametrize("words", [["cost"], ["run", "--dry-run"]])
def test_asking_for_a_price_downloads_nothing(command, monkeypatch, tmp_path, words):
    monkeypatch.delenv("UE_BENCH_DATA", raising=False)
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "ue_bench.datasets._torchvision.Torchvision._download", lambda self: pytest.fail("a download")
    )
    ended = command(*words, "suite=supervised", "profile=paper", f"store={tmp_path / 'store'}")
    assert (
        ended.status == 2 and "CIFAR-10 is not on this machine" in ended.err and "UE_BENCH_DATA" in ended.err
    )


def test_what_is_unknown_is_told_once_for_each_reason():
    unknowns = [
        "train: new",
        "protect of em: new",
        "protect of tap: new",
        "prepare of cp: not measured within 2 min",
    ]
    assert _grouped(unknowns) == "new: train, protect of em, tap; not measured within 2 min: prepare of cp"
