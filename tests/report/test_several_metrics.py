"""Tables with a column for each of several metrics: retrieval both ways."""

from __future__ import annotations

import csv
import io
import json

from reports import CLEAN, RANDOM, WIDE, entry, record

from ue_bench.report import build_report, render

METRICS = ["i2t_hit@10", "i2t_medr", "t2i_hit@10"]  # what a paper prints; its Hit@1 is in no table


def retrieval(trial, hit: float, rank: float, back: float):
    return record(trial, 0.0, metrics={"i2t_hit@10": hit, "i2t_medr": rank, "t2i_hit@10": back})


def made(published: bool = False):
    arms = {
        "clean": ({**CLEAN}, (8.0, 190.0, 9.0)),
        "random": ({**RANDOM}, (8.0, 200.0, 9.5)),
        "mine": ({"published_names": ["EM"]}, (2.0, 400.0, 3.0)),
        "other": ({"method": "other"}, (3.0, 600.0, 3.0)),
    }
    trials = [
        entry(seed, **{"granularity": "pair", **changes}) for changes, _ in arms.values() for seed in (0, 1)
    ]
    values = [value for _, value in arms.values() for _ in (0, 1)]
    plan = {
        "suite": "pairs",
        "paradigm": "contrastive",
        "source": "T2UE, table 2",
        "table": {"rows": ["method"], "columns": ["dataset"], "metrics": METRICS},
        "published": {"dataset": {"tiny": "flickr8k"}, "victim": {"net": "RN50"}},
        "floors": {"clean_i2t_hit@10": 4.0},
        "trials": trials,
    }
    records = {
        t["id"]: retrieval(t, v[0] + t["seed"], v[1], v[2]) for t, v in zip(trials, values, strict=True)
    }
    return build_report(plan, records, published=published)


def rows(markdown: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown.splitlines()
        if line[:1] == "|"
    ]


def test_each_metric_has_its_column_and_its_own_best():
    heading, _, *body = rows(render(made(), "markdown", WIDE))
    first = heading.index("i2t Hit@10")
    assert heading[first : first + 3] == ["i2t Hit@10", "i2t MedR", "t2i Hit@10"]
    cells = {row[0]: row[first : first + 3] for row in body}
    assert cells["plain"] == ["8.50 ± 0.71 (n=2)", "190.0 ± 0.0 (n=2)", "9.00 ± 0.00 (n=2)"]
    assert cells["mine"] == ["**2.50 ± 0.71** (n=2)", "400.0 ± 0.0 (n=2)", "**3.00 ± 0.00** (n=2)"]
    assert cells["other"][1:] == ["**600.0 ± 0.0** (n=2)", "**3.00 ± 0.00** (n=2)"], "a high rank protects"
    assert "best (epoch)" not in heading


def test_printed_numbers_stand_beside_each_metric():
    heading, _, *body = rows(render(made(published=True), "markdown", WIDE))
    named = [text for text in heading if text.startswith("published")]
    assert len(named) == 3 and any("i2t MedR in T2UE table 2" in text for text in named)
    assert "- published: as printed in T2UE table 2" in render(made(published=True), "markdown", WIDE)
    column = next(n for n, text in enumerate(heading) if "i2t Hit@10 in T2UE" in text)
    assert next(row for row in body if row[0] == "mine")[column] == "7.90"


def test_programs_get_every_metric():
    report = made()
    lines = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    found = {(line["method"], line["metric"]): line["mean"] for line in lines}
    assert found["other", "i2t_medr"] == "600.0" and found["mine", "i2t_hit@10"] == "2.5" and len(lines) == 12
    body = json.loads(render(report, "json"))
    assert [view["metric"]["name"] for view in body["other_metrics"]] == METRICS[1:]
    difference = body["other_metrics"][0]["rows"][2]["cells"][0]["difference_to_clean"]
    assert difference["mean"] == 210.0
    assert "i2t MedR" in render(report, "latex")
    footer = {item["label"]: item["text"] for item in body["footer"]}
    assert "i2t MedR, last epoch (rank): higher protects" in footer["numbers"]


def test_guessing_stands_under_the_table():
    report = made()
    for record_ in report.records:
        record_["notes"] = {"random_retrieval": {"i2t_hit@10": 0.996, "i2t_medr": 647.0, "t2i_hit@10": 1.0}}
        record_["curves"] = {"retrieval": {"i2t_medr": [700.0 + record_["metrics"]["i2t_hit@10"], 200.0]}}
    text = render(report)
    assert "- guessing, in closed form: i2t Hit@10 1.00, i2t MedR 647.0, t2i Hit@10 1.00" in text
    assert "- untrained victims: i2t MedR 705.8" in text, "700 and the mean of 8 9 8 9 2 3 3 4"


def test_guessing_is_told_for_each_dataset():
    """The closed form depends on how many images and captions there are."""
    pairs = [(name, entry(granularity="pair", dataset=name)) for name in ("few", "many", "none_done")]
    records = {}
    for (_, trial), rank in zip(pairs[:2], (60.0, 700.0), strict=True):
        records[trial["id"]] = {
            **retrieval(trial, 2.0, rank, 3.0),
            "notes": {"random_retrieval": {"i2t_medr": rank}},
            "curves": {"retrieval": {"i2t_medr": [rank + 1]}},
        }
    table = {"rows": ["method"], "columns": ["dataset"], "metrics": METRICS}
    text = render(build_report({"table": table, "trials": [trial for _, trial in pairs]}, records))
    for line in (
        "- guessing, in closed form, few: i2t MedR 60.0\n- untrained victims, few: i2t MedR 61.0\n",
        "- guessing, in closed form, many: i2t MedR 700.0\n- untrained victims, many: i2t MedR 701.0\n",
    ):
        assert line in text
    assert "none_done:" not in text


def test_a_contrastive_table_that_names_no_metric_shows_retrieval():
    trial = entry(granularity="pair")
    plan = {"paradigm": "contrastive", "table": {"metric": "accuracy_last"}, "trials": [trial]}
    text = render(build_report(plan, {trial["id"]: retrieval(trial, 2.0, 60.0, 3.0)}))
    assert "i2t Hit@10" in text and "**2.00**" in text
