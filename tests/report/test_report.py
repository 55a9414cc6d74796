"""Tables: numbers, marks and names in their cells, against cases worked by hand."""

from __future__ import annotations

import itertools

import pytest
from reports import CLEAN, RANDOM, SOUND, WIDE, cells_of, entry, plan, record, seeds, world

from ue_bench.report import build_report, render


def test_mean_spread_n_best_epoch_and_costs():
    rows = cells_of(render(build_report(*world(SOUND)), "markdown", WIDE))
    assert rows[2] == {
        "method": "mine",
        "granularity": "image",
        "budget": "Linf 8/255",
        "accuracy, last epoch (%)": "**12.00 ± 2.00** (n=3)",
        "best (epoch)": "22.00 ± 2.00 (2–4)",
        "PSNR dB": "33.0",
        "prepare s": "5.0",
        "protect s": "4.0",
        "train s": "40.0",
        "peak GB": "1.50",
    }
    assert rows[0]["accuracy, last epoch (%)"] == "92.00 ± 2.00 (n=3)"
    assert (rows[0]["granularity"], rows[0]["PSNR dB"], rows[0]["protect s"]) == ("–", "–", "–")


def test_one_seed_has_no_spread():
    rows = cells_of(
        render(build_report(*world([*seeds(CLEAN, [90.0]), *seeds({}, [12.314])])), "markdown", WIDE)
    )
    assert rows[1]["accuracy, last epoch (%)"] == "**12.31**"
    assert rows[1]["best (epoch)"] == "22.31 (2)"


def test_bold_is_the_lowest_protected_ties_both_controls_never():
    values = [
        *seeds(CLEAN, [90.0]),
        *seeds(RANDOM, [5.0]),
        *seeds({"method": "a"}, [12.001]),
        *seeds({"method": "b"}, [12.004]),
        *seeds({"method": "c"}, [12.01]),
    ]
    shown = [
        row["accuracy, last epoch (%)"]
        for row in cells_of(render(build_report(*world(values)), "markdown", WIDE))
    ]
    assert shown == ["90.00", "5.00", "**12.00**", "**12.00**", "12.01"]


def test_measures_of_noise_are_wide_columns_where_a_record_has_them():
    measured = {
        "separable_percent": 99.5,
        "linear_detector_percent": 70.25,
        "two_layer_detector_percent": 8.0,
    }
    for known in ({}, measured):
        values = [*seeds(CLEAN, [90.0]), *seeds({}, [10.0], noise={"key": "k", "psnr_db": 33.0, **known})]
        row = cells_of(render(build_report(*world(values)), "markdown", WIDE))[1]
        found = [row.get(name) for name in ("separable %", "detected % (linear)", "detected % (two layers)")]
        assert found == (["99.5", "70.2", "8.0"] if known else [None] * 3)


def test_bold_per_column_and_columns_by_dataset():
    values = []
    for dataset, low in (("one", "a"), ("two", "b")):
        values += seeds({**CLEAN, "dataset": dataset}, [90.0])
        for method in "ab":
            values += seeds({"method": method, "dataset": dataset}, [10.0 if method == low else 20.0])
    rows = cells_of(render(build_report(*world(values)), "markdown", WIDE))
    assert [(row["one"], row["two"]) for row in rows[1:]] == [("**10.00**", "20.00"), ("20.00", "**10.00**")]


def test_what_varies_and_is_no_column_becomes_a_row_and_a_contest_of_its_own():
    values = [
        pair
        for victim, defense in itertools.product(["net", "vit"], ["none", "blur"])
        for pair in [
            *seeds({**CLEAN, "victim": victim, "defense": defense}, [90.0]),
            *seeds({"victim": victim, "defense": defense}, [10.0]),
        ]
    ]
    report = build_report(*world(values))
    assert report.layout.rows == ("method", "granularity", "budget", "victim", "defense")
    assert len(report.rows) == 8
    assert all(cell.leads == (row.key[0] == "mine") for row in report.rows for cell in row.cells.values())


def test_ratios_as_columns_with_the_clean_control_in_its_own():
    values = [*seeds({**CLEAN, "poison_ratio": 0.0}, [90.0])]
    for ratio in (0.2, 1.0):
        values += seeds({"poison_ratio": ratio}, [100 - 80 * ratio])
    table = {"rows": ["method"], "columns": ["poison_ratio"], "metric": "accuracy_last"}
    rows = cells_of(render(build_report(*world(values, table=table)), "markdown", WIDE))
    assert (rows[0]["ratio 0%"], rows[0]["ratio 20%"]) == ("90.00", "–")
    assert (rows[1]["ratio 0%"], rows[1]["ratio 20%"], rows[1]["ratio 100%"]) == (
        "–",
        "**84.00**",
        "**20.00**",
    )


def test_methods_as_columns_and_rows_by_defense():
    values = []
    for defense, better in (("none", "a"), ("blur", "b")):
        values += seeds({**CLEAN, "defense": defense}, [90.0])
        for method in "ab":
            values += seeds({"method": method, "defense": defense}, [11.0 if method == better else 22.0])
    table = {"rows": ["defense"], "columns": ["method"], "metric": "accuracy_last"}
    report = build_report(*world(values, table=table))
    assert (report.layout.rows, report.layout.columns) == (("defense",), ("method",))
    text = render(report, "markdown", WIDE)
    assert "granularity image, budget Linf 8/255, dataset tiny" in text
    rows = cells_of(text)
    assert [row["defense"] for row in rows] == ["none", "blur"]
    assert [row["a"] for row in rows] == ["**11.00**", "22.00"]
    assert [row["b"] for row in rows] == ["22.00", "**11.00**"]


def test_several_settings_of_one_method_are_rows_of_their_own():
    values = [*seeds(CLEAN, [90.0])]
    values += seeds({"reduced": {"rounds": [5, 50]}}, [20.0]) + seeds({"reduced": {}}, [10.0])
    rows = cells_of(render(build_report(*world(values)), "markdown", WIDE))
    assert [row["variant"] for row in rows] == ["–", "rounds=5", "rounds=50"]


def test_one_name_for_several_datasets_is_told_apart_by_its_label():
    values = []
    for label in ("tiny 8 px", "tiny 16 px"):
        made = seeds({**CLEAN, "dataset_label": label}, [90.0])
        values += [({**t, "id": t["id"] + label}, {**r, "id": t["id"] + label}) for t, r in made]
    assert list(cells_of(render(build_report(*world(values)), "markdown", WIDE))[0])[3:5] == [
        "tiny 8 px",
        "tiny 16 px",
    ]


def test_trials_of_one_seed_in_one_cell_are_noted():
    values = [*seeds(CLEAN, [90.0]), *seeds({}, [10.0])]
    trial = {**values[1][0], "id": "other"}
    values.append((trial, {**record(trial, 30.0), "id": "other"}))
    assert "mixed: mine (image), tiny, net, seed 0" in render(build_report(*world(values)), "markdown", WIDE)


def test_a_clean_victim_below_its_floor_marks_every_row_that_rests_on_it():
    values = [*seeds(CLEAN, [70.0, 72.4]), *seeds({}, [10.0, 12.0])]
    values += [*seeds({**CLEAN, "victim": "vit"}, [90.0]), *seeds({"victim": "vit"}, [15.0])]
    table = {"rows": ["method"], "columns": ["victim"], "metric": "accuracy_last"}
    text = render(build_report(*world(values, table=table)), "markdown", WIDE)
    rows = cells_of(text)
    assert rows[0]["net"] == "71.20 ± 1.70† (n=2)"
    assert rows[1]["net"] == "11.00 ± 1.41† (n=2)"
    assert (rows[1]["vit"], rows[1]["marks"]) == ("**15.00**", "invalid")
    assert "tiny, net, no defense: the clean victim reaches 71.20 %, the floor is 80 %" in text
    assert "vit, no defense" not in text


def test_a_floor_may_be_stated_for_each_dataset():
    values = [
        pair
        for dataset in ("easy", "hard", "free")
        for pair in [*seeds({**CLEAN, "dataset": dataset}, [60.0]), *seeds({"dataset": dataset}, [10.0])]
    ]
    report = build_report(*world(values, floors={"clean_accuracy": {"easy": 80.0, "hard": 50.0}}))
    marks = {column[0]: cell.marks for column, cell in report.rows[1].cells.items()}
    assert marks == {"easy": ("invalid",), "hard": (), "free": ("unchecked",)}
    text = render(report, "markdown", WIDE)
    assert "‡ unchecked: free, net, no defense: no floor is stated for the clean victim here" in text
    assert "Say 'floors.clean_accuracy={NAME: 50}'" in text and "No floor is stated" not in text


def test_one_floor_that_applies_is_enough():
    floors = {"clean_accuracy": 50.0, "clean_i2t_hit@10": {"other": 5.0}}
    report = build_report(*world([*seeds(CLEAN, [60.0]), *seeds({}, [10.0])], floors=floors))
    assert not any(row.marks for row in report.rows)


@pytest.mark.parametrize("clean", [[None], []])
def test_without_a_clean_control_rows_are_unchecked(clean):
    values = [*seeds(CLEAN, clean), *seeds({}, [12.0])]
    text = render(build_report(*world(values)), "markdown", WIDE)
    assert cells_of(text)[-1]["accuracy, last epoch (%)"] == "**12.00**‡"
    assert cells_of(text)[-1]["marks"] == "unchecked"
    assert "‡ unchecked: tiny, net, no defense: the" in text


def test_a_plan_without_floors_says_that_nothing_was_checked():
    text = render(
        build_report(*world([*seeds(CLEAN, [20.0]), *seeds({}, [12.0])], floors={})), "markdown", WIDE
    )
    assert "†" not in text and "No floor is stated" in text


def test_a_run_that_does_not_fit_its_training_data_is_left_out_and_named():
    values = [*seeds(CLEAN, [90.0, 91.0]), *seeds({}, [10.0, 12.0])]
    trial = entry(2)
    values.append((trial, record(trial, 50.0, train=31.0)))
    text = render(build_report(*world(values)), "markdown", WIDE)
    assert cells_of(text)[1]["accuracy, last epoch (%)"] == "**11.00 ± 1.41** (n=2 of 3)"
    assert "† invalid: mine (image), tiny, net, seed 2: train accuracy is 31.00 %, the floor is 50 %" in text


def test_a_cell_of_runs_that_fit_nothing_is_invalid_and_not_bold():
    values = [*seeds(CLEAN, [90.0]), *seeds({}, [10.0], train=31.0), *seeds({"method": "b"}, [11.0])]
    rows = cells_of(render(build_report(*world(values)), "markdown", WIDE))
    assert rows[1]["accuracy, last epoch (%)"] == "10.00†"
    assert rows[2]["accuracy, last epoch (%)"] == "**11.00**"


def test_a_clean_control_that_fits_nothing_makes_its_rows_invalid():
    report = build_report(*world([*seeds(CLEAN, [90.0], train=10.0), *seeds({}, [10.0])]))
    assert all(cell.marks == ("invalid",) for row in report.rows for cell in row.cells.values())


def test_missing_failed_invalid_and_unmeasured_are_named():
    error = {"kind": "OutOfMemoryError", "message": "no memory left\nmore lines"}
    lost = {"metrics": {}, "noise": None}
    values = [
        *seeds(CLEAN, [90.0, 90.0, 90.0]),
        *seeds({"method": "a"}, [10.0, 12.0, None]),
        *seeds({"method": "b"}, [None, None, None]),
        *seeds({"method": "c"}, [1.0, 1.0, 1.0], status="failed", error=error, **lost),
        *seeds({"method": "d"}, [1.0, 1.0], status="invalid", error={"kind": "nan", "message": "loss"}),
        *seeds({"method": "e"}, [1.0], metrics={"other": 3.0}),
        *seeds({"method": "f"}, [1.0, None], status="failed", **lost),
    ]
    text = render(build_report(*world(values)), "markdown", WIDE)
    shown = [row["accuracy, last epoch (%)"] for row in cells_of(text)[1:]]
    assert shown == [
        "**11.00 ± 1.41** (n=2 of 3)",
        "missing",
        "failed",
        "invalid",
        "not measured",
        "1 failed, 1 missing",
    ]
    assert "- failed: c (image), tiny, net, seeds 0, 1, 2: OutOfMemoryError: no memory left\n" in text
    assert "- invalid: d (image), tiny, net, seeds 0, 1: nan: loss" in text
    assert "failed: f (image), tiny, net, seed 0: no cause recorded" in text


@pytest.mark.parametrize(
    ("kind", "message", "told"),
    [
        ("RuntimeError", "RuntimeError: no memory", "RuntimeError: no memory"),
        ("RuntimeError", "no memory", "RuntimeError: no memory"),
        ("RuntimeError", "RuntimeError: RuntimeError", "RuntimeError"),
        ("DataError", "DataErrors: 3", "DataError: DataErrors: 3"),
        ("", "no memory", "no memory"),
    ],
)
def test_the_kind_of_an_error_is_told_once(kind, message, told):
    error = {"kind": kind, "message": message}
    text = render(build_report(*world(seeds({}, [1.0], status="failed", error=error))), "markdown", WIDE)
    assert f"- failed: mine (image), tiny, net, seed 0: {told}\n" in text


@pytest.mark.parametrize("format", ["markdown", "csv", "json", "latex"])
@pytest.mark.parametrize("published", [False, True])
def test_no_records_and_no_trials_are_tables_too(format, published):
    empty = render(build_report(plan([t for t, _ in SOUND]), {}, published), format)
    assert "missing" in empty
    assert render(build_report(plan([]), {}, published), format)
    assert render(build_report({}, {}, published), format)


def test_no_records_say_missing_everywhere():
    rows = cells_of(render(build_report(plan([t for t, _ in SOUND]), {}), "markdown", WIDE))
    assert [row["accuracy, last epoch (%)"] for row in rows] == ["missing"] * 3


def test_settings_of_one_defense_have_cells_and_clean_controls_of_their_own():
    values = []
    for quality, clean, mine in ((10, 50.0, 40.0), (30, 2.0, 20.0)):
        changes = {"defense": "jpeg", "settings": {"defense": f"quality={quality}"}, "reduced": {}}
        for kind, value in ((CLEAN, clean), ({}, mine)):
            trial = entry(**{**kind, **changes})
            values.append(({**trial, "id": f"{trial['id']}{quality}"}, value))
    trials = [trial for trial, _ in values]
    records = {trial["id"]: record(trial, value) for trial, value in values}
    report = build_report(plan(trials, floors={"clean_accuracy": 20}), records)
    rows = cells_of(render(report, "markdown", WIDE))
    shown = {(row["method"], row["defense"]): row["accuracy, last epoch (%)"] for row in rows}
    assert shown == {
        ("plain", "jpeg (quality=10)"): "50.00",
        ("plain", "jpeg (quality=30)"): "2.00†",  # below its floor
        ("mine", "jpeg (quality=10)"): "**40.00**",
        ("mine", "jpeg (quality=30)"): "20.00†",
    }
    assert "jpeg (quality=30)" in render(report, "csv") and "jpeg (quality=10)" in render(report, "json")
