"""Around the tables: footnotes, costs, footers and file formats, against cases worked by hand."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest
from reports import CLEAN, RANDOM, SOUND, WIDE, cells_of, seeds, world

from ue_bench.errors import ConfigError
from ue_bench.measures import lookup, measure
from ue_bench.progress import duration
from ue_bench.report import build_report, render
from ue_bench.report.cost import totals
from ue_bench.report.latex import escape
from ue_bench.text import csv_cell


def test_reduced_methods_are_marked_and_every_parameter_listed():
    less = {
        "reduced": {"rounds": [10, 50], "steps": [5, 20], "cap": [2, 9], "batch": [64, None]},
        "sources": {"rounds": "paper", "steps": "code", "cap": "default", "batch": "code"},
    }
    values = [*seeds(CLEAN, [90.0]), *seeds(less, [12.0])]
    text = render(build_report(*world(values)), "markdown", WIDE)
    assert cells_of(text)[1]["marks"] == "reduced"
    wanted = "rounds 10 (paper: 50), steps 5 (code: 20), cap 2 (default: 9), batch 64 (code: as other settings say)"
    assert f"- reduced: mine (image): {wanted}" in text


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
    text = render(build_report(*world(values)), "markdown", WIDE)
    assert "1.5 GPU-hours (protect 0.5, train 1)" in text
    assert "82.0 core-seconds (train 80.0, evaluate 2.0)" in text
    assert "cpu Some CPU, 2 threads; cuda A100; MIXED DEVICES" in text


def test_the_footer_says_how_it_was_made():
    values = [
        *seeds(CLEAN, [90.0, 91.0]),
        *seeds({}, [12.0, 13.0], commit="abc1234+", warnings=["cap reached"]),
    ]
    skipped = [{"what": "words on tiny", "reason": "needs captions"}]
    text = render(build_report(*world(values, skipped=skipped, source="A paper, table 1")), "markdown", WIDE)
    for line in (
        "- command: `ue-bench run suite=demo`",
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
    assert (duration(12.34, 1), duration(240, 1), duration(9000, 1)) == ("12.3 s", "4.0 min", "2.5 h")


def test_the_footer_says_how_victims_were_trained():
    tiny = {"epochs": 16, "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.1, "crop_padding": 0}
    tiny |= {"flip": True, "weight_decay": 0.0005}
    other = {**tiny, "optimizer": "adamw", "learning_rate": 0.001, "crop_padding": 4, "weight_decay": 0.05}
    values = []
    for victim, recipe in (("net", tiny), ("vgg", tiny), ("vit", other)):
        config = {"recipe": recipe, "image_size": None, "victim": {"name": victim, "parameters": {}}}
        values += seeds({"victim": victim}, [10.0, 12.0], config=config)
    text = render(build_report(*world(values)), "markdown", WIDE)
    for line in (
        "- image size: as stored\n",
        "- recipe: 16 epochs, batches of 64, sgd with learning rate 0.1, no crops, flips, weight_decay 0.0005: "
        "net, vgg\n",
        "- recipe: 16 epochs, batches of 64, adamw with learning rate 0.001, crops with a padding of 4 pixels, "
        "flips, weight_decay 0.05: vit\n",
    ):
        assert line in text
    pairs = {"epochs": 1, "batch_size": 128, "learning_rate": 0.0005, "warmup_steps": 10}
    config = {"recipe": pairs, "image_size": 48, "victim": {"name": "clip"}}
    text = render(build_report(*world(seeds({}, [10.0], config=config))), "markdown", WIDE)
    assert "- image size: 48 pixels\n" in text
    told = "- recipe: 1 epoch, batches of 128, adamw with learning rate 0.0005, no crops, no flips: clip\n"
    assert told in text
    assert "recipe:" not in render(build_report(*world(SOUND)), "markdown", WIDE), "these records tell none"


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


def test_speeds_are_shown_where_records_have_them():
    """Two seeds with 100 and 300 images a second; a record of an earlier version and one without noise have fewer."""
    fast = {"train": {"images": 50, "images_per_second": 100.0, "flop": 2e8, "peak_percent": 20.0}}
    made = seeds({}, [12.0, 14.0])
    made[0][1]["speed"], made[1][1]["speed"] = fast, {"train": {"images_per_second": 300.0}}
    values = [*seeds(CLEAN, [90.0]), *made]
    old = render(build_report(*world([*seeds(CLEAN, [90.0]), *seeds({}, [12.0, 14.0])])), "markdown", WIDE)
    assert "images/s" not in old and "peak)" not in old
    row = cells_of(render(build_report(*world(values)), "markdown", WIDE))
    assert [row[0][f"train ({unit})"] for unit in ("images/s", "MFLOP an image", "% of peak")] == ["–"] * 3
    assert [row[1][f"train ({unit})"] for unit in ("images/s", "MFLOP an image", "% of peak")] == [
        "200.0",
        "4.0",
        "20.0",
    ]
    lines = list(csv.DictReader(io.StringIO(render(build_report(*world(values)), "csv"))))
    assert [line["train_images_per_second"] for line in lines] == ["", "200.0"]
    told = json.loads(render(build_report(*world(values)), "json"))["rows"]
    assert told[1]["costs"]["train_peak_percent"] == 20 and "train_peak_percent" not in told[0]["costs"]
    assert measure("train_images_per_second").direction == "higher is faster"
    assert measure("train_flop").direction == "lower is cheaper"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1"])
def test_csv_holds_no_formula(text):
    assert csv_cell(text) == "'" + text.strip()
    lines = list(
        csv.DictReader(io.StringIO(render(build_report(*world(seeds({"method": text}, [-5.0]))), "csv")))
    )
    assert [line["method"] for line in lines] == ["'" + text.strip()]
    assert float(lines[0]["mean"]) == -5, "a number stays a number"


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
    text = render(build_report(*world(seeds({"method": "a|b"}, [12.0]))), "markdown", WIDE)
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
    rows = cells_of(render(build_report(*world(values, table=table, floors=floors)), "markdown", WIDE))
    assert [row["i2t MedR, last epoch (rank)"] for row in rows] == ["20.0", "300.0", "**450.5**"]
    assert rows[2]["best (epoch)"] == "445.5 (7)"
    values[0][1]["metrics"]["i2t_medr"] = 480.0
    report = build_report(*world(values, table=table, floors=floors))
    assert report.rows[1].marks == ["invalid"]


def test_measures_by_name():
    assert measure("i2t_hit@10").lower_protects and not measure("t2i_medr").lower_protects
    assert measure("i2t_hit@10").label == "i2t Hit@10, last epoch (%)"
    assert measure("best.i2t_hit@10").printed == ("hit@10", "i2t")
    assert measure("accuracy_best").label == "accuracy, best epoch (%)"
    assert lookup({"metrics": {"best": {"a": 1}}}, "best.a") == 1.0
    assert lookup({"metrics": {"a": float("nan")}}, "a") is None
    assert lookup(None, "a") is None


def test_reports_import_nothing_heavy():
    heavy = ("torch", "pandas", "tabulate", "scipy")
    code = f"import sys, ue_bench.report; print([name for name in {heavy} if name in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
