"""A report from plan and records: every rule of the table with numbers worked by hand."""

from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys

import pytest

from ue_bench.errors import ConfigError
from ue_bench.report import build_report, render
from ue_bench.report.cost import duration, totals
from ue_bench.report.latex import escape
from ue_bench.report.measures import lookup, measure

CLEAN = {"method": "plain", "granularity": "", "budget": "none (no noise)", "control": "clean"}
RANDOM = {"method": "dice", "control": "random"}


def entry(seed=0, **changes):
    """A planned trial; its id spells out all that it is."""
    trial = {
        "dataset": "tiny",
        "dataset_label": "tiny (40 train, 20 test)",
        "method": "mine",
        "granularity": "image",
        "budget": "Linf 8/255",
        "victim": "net",
        "defense": "none",
        "poison_ratio": 1.0,
        "seed": seed,
        "control": None,
        "published_names": [],
        "reduced": {},
        **changes,
    }
    names = ("method", "granularity", "budget", "dataset", "victim", "defense", "poison_ratio", "seed")
    return {"id": "-".join(str(trial[name]) for name in names) + str(changes.get("reduced", "")), **trial}


def record(trial, accuracy, train=99.0, **changes):
    """A finished record of a trial."""
    noisy = trial["control"] != "clean"
    key = f"{trial['method']}-{trial['granularity']}-{trial['dataset']}-{trial['seed']}"
    seconds = {
        "train": 40.0,
        "evaluate": 1.0,
        **({"prepare": 5.0, "protect": 3.0 + trial["seed"]} if noisy else {}),
    }
    return {
        "id": trial["id"],
        "status": "done",
        "method": trial["method"],
        "metrics": {
            "accuracy_last": accuracy,
            "accuracy_best": accuracy + 10,
            "accuracy_best_epoch": 2 + trial["seed"],
            "train_accuracy_last": train,
        },
        "noise": {"key": key, "psnr_db": 33.0} if noisy else None,
        "seconds": seconds,
        "device_seconds": {phase: 2 * value for phase, value in seconds.items()},
        "peak_bytes": 1_500_000_000,
        "device": {"type": "cpu", "name": "Some CPU", "threads": 2},
        "versions": {"ue_bench": "0.1.0", "torch": "2.6.0"},
        "commit": "abc1234",
        "warnings": [],
        "error": None,
        "created": "2026-01-02T03:04:05+00:00",
        **changes,
    }


def plan(trials, **changes):
    return {
        "schema": 1,
        "suite": "demo",
        "title": "A demo",
        "profile": "smoke",
        "command": "ue-bench run suite=demo",
        "paradigm": "supervised",
        "floors": {"clean_accuracy": 80.0, "train_accuracy": 50.0},
        "table": {"rows": ["method"], "columns": ["dataset"], "metric": "accuracy_last"},
        "trials": trials,
        "skipped": [],
        **changes,
    }


def world(values, **changes):
    """(plan, records) from pairs of (trial, record or None)."""
    pairs = [(trial, made) for trial, made in values]
    return plan([trial for trial, _ in pairs], **changes), {t["id"]: r for t, r in pairs if r is not None}


def seeds(changes, accuracies, **more):
    """(trial, record) for each accuracy; None stands for a missing record."""
    trials = [entry(seed, **changes) for seed in range(len(accuracies))]
    return [(t, None if a is None else record(t, a, **more)) for t, a in zip(trials, accuracies, strict=True)]


def cells_of(text):
    """Markdown's rows as {first cell: {heading: text}}."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(split[0], row, strict=True)) for row in split[2:]]


SOUND = [
    *seeds(CLEAN, [90.0, 92.0, 94.0]),
    *seeds(RANDOM, [88.0, 90.0, 89.0]),
    *seeds({}, [10.0, 12.0, 14.0]),
]


def test_mean_spread_n_best_epoch_and_costs():
    rows = cells_of(render(build_report(*world(SOUND)), "markdown"))
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
    rows = cells_of(render(build_report(*world([*seeds(CLEAN, [90.0]), *seeds({}, [12.314])])), "markdown"))
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
        row["accuracy, last epoch (%)"] for row in cells_of(render(build_report(*world(values)), "markdown"))
    ]
    assert shown == ["90.00", "5.00", "**12.00**", "**12.00**", "12.01"]


def test_bold_per_column_and_columns_by_dataset():
    values = []
    for dataset, low in (("one", "a"), ("two", "b")):
        values += seeds({**CLEAN, "dataset": dataset}, [90.0])
        for method in "ab":
            values += seeds({"method": method, "dataset": dataset}, [10.0 if method == low else 20.0])
    rows = cells_of(render(build_report(*world(values)), "markdown"))
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
    rows = cells_of(render(build_report(*world(values, table=table)), "markdown"))
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
    text = render(report, "markdown")
    assert "granularity image, budget Linf 8/255, dataset tiny" in text
    rows = cells_of(text)
    assert [row["defense"] for row in rows] == ["none", "blur"]
    assert [row["a"] for row in rows] == ["**11.00**", "22.00"]
    assert [row["b"] for row in rows] == ["22.00", "**11.00**"]


def test_several_settings_of_one_method_are_rows_of_their_own():
    values = [*seeds(CLEAN, [90.0])]
    values += seeds({"reduced": {"rounds": [5, 50]}}, [20.0]) + seeds({"reduced": {}}, [10.0])
    rows = cells_of(render(build_report(*world(values)), "markdown"))
    assert [row["variant"] for row in rows] == ["–", "rounds=5", "defaults"]


def test_one_name_for_several_datasets_is_told_apart_by_its_label():
    values = []
    for label in ("tiny 8 px", "tiny 16 px"):
        made = seeds({**CLEAN, "dataset_label": label}, [90.0])
        values += [({**t, "id": t["id"] + label}, {**r, "id": t["id"] + label}) for t, r in made]
    assert list(cells_of(render(build_report(*world(values)), "markdown"))[0])[3:5] == [
        "tiny 8 px",
        "tiny 16 px",
    ]


def test_trials_of_one_seed_in_one_cell_are_noted():
    values = [*seeds(CLEAN, [90.0]), *seeds({}, [10.0])]
    trial = {**values[1][0], "id": "other"}
    values.append((trial, {**record(trial, 30.0), "id": "other"}))
    assert "mixed: mine (image), tiny, net, seed 0" in render(build_report(*world(values)), "markdown")


def test_a_clean_victim_below_its_floor_marks_every_row_that_rests_on_it():
    values = [*seeds(CLEAN, [70.0, 72.4]), *seeds({}, [10.0, 12.0])]
    values += [*seeds({**CLEAN, "victim": "vit"}, [90.0]), *seeds({"victim": "vit"}, [15.0])]
    table = {"rows": ["method"], "columns": ["victim"], "metric": "accuracy_last"}
    text = render(build_report(*world(values, table=table)), "markdown")
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
    assert marks == {"easy": ("invalid",), "hard": (), "free": ()}


@pytest.mark.parametrize("clean", [[None], []])
def test_without_a_clean_control_rows_are_unchecked(clean):
    values = [*seeds(CLEAN, clean), *seeds({}, [12.0])]
    text = render(build_report(*world(values)), "markdown")
    assert cells_of(text)[-1]["accuracy, last epoch (%)"] == "**12.00**‡"
    assert cells_of(text)[-1]["marks"] == "unchecked"
    assert "‡ unchecked: tiny, net, no defense: the" in text


def test_a_plan_without_floors_says_that_nothing_was_checked():
    text = render(build_report(*world([*seeds(CLEAN, [20.0]), *seeds({}, [12.0])], floors={})), "markdown")
    assert "†" not in text and "No floor is stated" in text


def test_a_run_that_does_not_fit_its_training_data_is_left_out_and_named():
    values = [*seeds(CLEAN, [90.0, 91.0]), *seeds({}, [10.0, 12.0])]
    trial = entry(2)
    values.append((trial, record(trial, 50.0, train=31.0)))
    text = render(build_report(*world(values)), "markdown")
    assert cells_of(text)[1]["accuracy, last epoch (%)"] == "**11.00 ± 1.41** (n=2 of 3)"
    assert "† invalid: mine (image), tiny, net, seed 2: train accuracy is 31.00 %, the floor is 50 %" in text


def test_a_cell_of_runs_that_fit_nothing_is_invalid_and_not_bold():
    values = [*seeds(CLEAN, [90.0]), *seeds({}, [10.0], train=31.0), *seeds({"method": "b"}, [11.0])]
    rows = cells_of(render(build_report(*world(values)), "markdown"))
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
    text = render(build_report(*world(values)), "markdown")
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


@pytest.mark.parametrize("format", ["markdown", "csv", "json", "latex"])
@pytest.mark.parametrize("published", [False, True])
def test_no_records_and_no_trials_are_tables_too(format, published):
    empty = render(build_report(plan([t for t, _ in SOUND]), {}, published), format)
    assert "missing" in empty
    assert render(build_report(plan([]), {}, published), format)
    assert render(build_report({}, {}, published), format)


def test_no_records_say_missing_everywhere():
    rows = cells_of(render(build_report(plan([t for t, _ in SOUND]), {}), "markdown"))
    assert [row["accuracy, last epoch (%)"] for row in rows] == ["missing"] * 3


def test_reduced_methods_are_marked_and_every_parameter_listed():
    values = [*seeds(CLEAN, [90.0]), *seeds({"reduced": {"rounds": [10, 50], "steps": [5, 20]}}, [12.0])]
    text = render(build_report(*world(values)), "markdown")
    assert cells_of(text)[1]["marks"] == "reduced"
    assert "- reduced: mine (image): rounds 10 (paper: 50), steps 5 (paper: 20)" in text


def test_shared_noise_and_preparations_cost_once():
    values = [
        pair for victim in ("net", "vit", "cnn") for pair in seeds({"victim": victim}, [10.0, 12.0])
    ]  # 3 victims share 2 noises: protect 3 + 4 s; both noises carry the one preparation of 5 s
    spent = totals([r for _, r in values])
    assert spent["phases"]["protect"]["wall_seconds"] == 7.0
    assert spent["phases"]["protect"]["core_seconds"] == 14.0
    assert spent["phases"]["prepare"]["wall_seconds"] == 5.0
    assert spent["phases"]["train"]["wall_seconds"] == 6 * 40.0
    assert spent["wall_seconds"] == 7 + 5 + 240 + 6
    assert spent["methods"]["mine"]["protect"]["wall_seconds"] == 7.0
    report = build_report(*world(values))
    assert [row.costs["protect_seconds"] for row in report.rows] == [3.5, 3.5, 3.5]
    assert [row.costs["prepare_seconds"] for row in report.rows] == [5.0, 5.0, 5.0]


def test_a_failed_trial_that_lost_its_noise_does_not_count_it_again():
    first, second = (r for _, r in seeds({}, [10.0, 10.0]))
    lost = {**first, "id": "x", "noise": None, "status": "failed"}
    assert totals([lost, first, second])["phases"]["protect"]["wall_seconds"] == 7.0


def test_preparations_with_keys_of_their_own_add_up():
    one, two = (r for _, r in seeds({}, [10.0, 10.0]))
    one["noise"]["prepare_key"], two["noise"]["prepare_key"] = "p0", "p1"
    assert totals([one, two])["phases"]["prepare"]["wall_seconds"] == 10.0


def test_accelerators_count_in_gpu_hours_and_mixed_devices_warn():
    values = [*seeds(CLEAN, [90.0]), *seeds({}, [12.0], device={"type": "cuda", "name": "A100"})]
    values[1][1]["device_seconds"] = {"protect": 1800.0, "train": 3600.0}
    text = render(build_report(*world(values)), "markdown")
    assert "1.5 GPU-hours (protect 0.5, train 1)" in text
    assert "82.0 core-seconds (train 80.0, evaluate 2.0)" in text
    assert "cpu Some CPU, 2 threads; cuda A100; MIXED DEVICES" in text


def test_the_footer_says_how_it_was_made():
    values = [
        *seeds(CLEAN, [90.0, 91.0]),
        *seeds({}, [12.0, 13.0], commit="abc1234+", warnings=["cap reached"]),
    ]
    skipped = [{"what": "words on tiny", "reason": "needs captions"}]
    text = render(build_report(*world(values, skipped=skipped, source="A paper, table 1")), "markdown")
    for line in (
        "- command: ue-bench run suite=demo",
        "- suite: demo, profile smoke, after A paper, table 1",
        "mean ± sample standard deviation over seeds 0, 1",
        "- trials: 4 done",
        "- datasets: tiny (40 train, 20 test)",
        "- device: cpu Some CPU, 2 threads\n",
        "- versions: ue_bench 0.1.0, torch 2.6.0\n",
        "- commit: abc1234, abc1234 with uncommitted changes",
        "- measured: 2026-01-02\n",
        "- cost: 2.9 min (prepare 5.0 s, protect 7.0 s, train 2.7 min, evaluate 4.0 s)",
        "- warning: cap reached (2 trials)",
        "- skipped: words on tiny: needs captions",
    ):
        assert line in text
    assert (duration(12.34), duration(240), duration(9000)) == ("12.3 s", "4.0 min", "2.5 h")


def test_json_has_raw_values_and_paired_differences():
    made = json.loads(render(build_report(*world(SOUND)), "json"))
    (cell,) = made["rows"][2]["cells"]
    assert [(v["seed"], v["value"], v["counts"]) for v in cell["values"]] == [
        (0, 10, True),
        (1, 12, True),
        (2, 14, True),
    ]
    assert (cell["mean"], cell["std"], cell["n"], cell["planned"]) == (12, 2, 3, 3)
    to_clean = cell["difference_to_clean"]  # -80, -80, -80
    assert (to_clean["mean"], to_clean["std"], to_clean["interval_95"]) == (-80, 0, [-80, -80])
    assert to_clean["reference"]["method"] == "plain"
    to_random = cell["difference_to_random"]  # -78, -78, -75: mean -77, std sqrt(3), half width 4.30265
    assert to_random["mean"] == -77
    assert to_random["std"] == pytest.approx(3**0.5)
    assert to_random["interval_95"] == pytest.approx([-77 - 4.30265, -77 + 4.30265], abs=1e-4)
    assert made["rows"][0]["cells"][0]["difference_to_clean"] is None
    assert made["plan"]["command"] == "ue-bench run suite=demo" and "trials" not in made["plan"]
    assert made["totals"]["phases"]["train"]["wall_seconds"] == 9 * 40


def test_one_seed_has_a_difference_without_an_interval():
    made = json.loads(render(build_report(*world([*seeds(CLEAN, [90.0]), *seeds({}, [12.0])])), "json"))
    difference = made["rows"][1]["cells"][0]["difference_to_clean"]
    assert (difference["mean"], difference["n"], difference["interval_95"]) == (-78, 1, None)
    assert made["rows"][1]["cells"][0]["difference_to_random"] is None


def test_the_random_control_of_the_same_budget_is_the_reference():
    values = [*seeds(CLEAN, [90.0]), *seeds(RANDOM, [80.0]), *seeds({**RANDOM, "budget": "L2 1"}, [85.0])]
    values += seeds({"budget": "L2 1"}, [15.0])
    made = json.loads(render(build_report(*world(values)), "json"))
    difference = made["rows"][-1]["cells"][0]["difference_to_random"]
    assert (difference["mean"], difference["reference"]["budget"]) == (-70, "L2 1")


def test_csv_has_one_line_a_cell_with_raw_numbers():
    values = [*SOUND, *seeds({"dataset": "other"}, [None])]
    lines = list(csv.DictReader(io.StringIO(render(build_report(*world(values)), "csv"))))
    assert len(lines) == 4
    line = lines[2]
    assert (line["method"], line["dataset"], line["control"]) == ("mine", "tiny", "")
    assert [float(line[key]) for key in ("mean", "std", "n", "protect_seconds", "peak_bytes")] == [
        12,
        2,
        3,
        4,
        1.5e9,
    ]
    assert (lines[3]["state"], lines[3]["mean"], lines[3]["n"]) == ("missing", "", "0")


def test_latex_is_a_booktabs_table_with_every_special_escaped():
    values = [*seeds(CLEAN, [90.0, 91.0]), *seeds({"method": "my_method#1"}, [12.0, 14.0])]
    text = render(build_report(*world(values, title="50% & more")), "latex")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")].splitlines()
    assert text.index(r"\caption{50\% \& more") < text.index(r"\begin{tabular}{lllrr")
    assert body[1].startswith("method & granularity & budget & ") and body[2] == r"\midrule"
    assert body[4].startswith(r"my\_method\#1 & image & Linf 8/255 & \textbf{13.00 $\pm$ 1.41} (n=2) & ")
    assert {line.replace(r"\&", "").count(" & ") for line in (body[1], *body[3:])} == {
        len(body[1].split(" & ")) - 1
    }
    assert text.splitlines()[0] == "% command: ue-bench run suite=demo"
    assert escape("a_b%{c}\\~^$") == r"a\_b\%\{c\}\textbackslash{}\textasciitilde{}\textasciicircum{}\$"


def test_a_bar_in_a_name_does_not_break_markdown():
    text = render(build_report(*world(seeds({"method": "a|b"}, [12.0]))), "markdown")
    assert r"a\|b" in text


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown format 'markdwn': did you mean 'markdown'"):
        render(build_report(*world(SOUND)), "markdwn")


def test_ranks_protect_upwards_and_best_metrics_are_found():
    table = {"rows": ["method"], "columns": [], "metric": "i2t_medr"}
    values = [*seeds(CLEAN, [1.0]), *seeds({"method": "a"}, [1.0]), *seeds({"method": "b"}, [1.0])]
    for (_, made), rank in zip(values, (20.0, 300.0, 450.5), strict=True):
        made["metrics"] = {"i2t_medr": rank, "best": {"i2t_medr": rank - 5, "epoch": 7}}
    floors = {"clean_i2t_medr": 100.0}
    rows = cells_of(render(build_report(*world(values, table=table, floors=floors)), "markdown"))
    assert [row["i2t MedR, last epoch (rank)"] for row in rows] == ["20.0", "300.0", "**450.5**"]
    assert rows[2]["best (epoch)"] == "445.5 (7)"
    values[0][1]["metrics"]["i2t_medr"] = 480.0
    report = build_report(*world(values, table=table, floors=floors))
    assert report.rows[1].marks == ["invalid"]


def test_measures_by_name():
    assert measure("i2t_hit@10").lower_protects and not measure("t2i_medr").lower_protects
    assert measure("i2t_hit@10").label == "i2t Hit@10, last epoch (%)"
    assert measure("best.i2t_hit@10").published == ("hit@10", "i2t")
    assert measure("accuracy_best").label == "accuracy, best epoch (%)"
    assert lookup({"metrics": {"best": {"a": 1}}}, "best.a") == 1.0
    assert lookup({"metrics": {"a": float("nan")}}, "a") is None
    assert lookup(None, "a") is None


def test_reports_import_nothing_heavy():
    heavy = ("torch", "pandas", "tabulate", "scipy")
    code = f"import sys, ue_bench.report; print([name for name in {heavy} if name in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
