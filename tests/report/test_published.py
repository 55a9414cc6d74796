"""The papers' numbers beside ours: found where they belong, named, and never mixed in."""

from __future__ import annotations

import csv
import io

import pytest
from reports import WIDE

from ue_bench.measures import measure
from ue_bench.registry import Registry
from ue_bench.report import build_report, render
from ue_bench.report.field_numbers import load as load_field
from ue_bench.report.field_numbers import parse as parse_field
from ue_bench.report.printed import find, load, named_tables, paper, parse, same_name

ACCURACY = measure("accuracy_last")
PLAN = {"paradigm": "supervised", "table": {"metric": "accuracy_last", "columns": ["dataset"]}}


def trial(method, granularity="image", dataset="cifar10", victim="resnet18", **changes):
    return {
        "id": f"{method}-{granularity}-{dataset}-{victim}",
        "dataset": dataset,
        "method": method.lower(),
        "granularity": granularity,
        "budget": "Linf 8/255",
        "victim": victim,
        "defense": "none",
        "poison_ratio": 1.0,
        "seed": 0,
        "control": None,
        "published_names": [method],
        **changes,
    }


def values(entry, plan=PLAN, table=4, wanted=ACCURACY):
    matches = find(entry, plan, wanted, load())
    return [(m.figure.value, m.note) for m in matches if m.figure.table == table]


def test_image_is_the_papers_sample_and_class_is_class():
    assert values(trial("EM", "image")) == [(15.37, "")]
    assert values(trial("EM", "class")) == [(11.57, "")]


def test_a_method_listed_under_another_granularity_is_found_and_labelled():
    assert values(trial("AR", "image")) == [(10.41, "listed as class-wise")]


def test_two_granularities_are_never_swapped():
    two = [figure for figure in load() if figure.method == "EM"]
    other = trial("EM", "patch")
    assert find(other, PLAN, ACCURACY, two) == ()


@pytest.mark.parametrize(
    "changes",
    [{"dataset": "cifar10_5k"}, {"victim": "vit"}, {"defense": "mixup"}, {"poison_ratio": 0.5}],
)
def test_no_match_is_empty(changes):
    assert values(trial("EM", **changes)) == []


def test_no_match_for_names_and_paradigms_that_the_papers_do_not_print():
    assert values(trial("Newest")) == []
    assert values(trial("EM", published_names=[])) == []
    assert values(trial("EM"), {**PLAN, "paradigm": "contrastive"}) == []


def test_the_clean_control_matches_at_any_ratio_and_granularity():
    entry = trial("No Protection", "", control="clean", poison_ratio=0.0)
    assert values(entry) == [(90.34, "")]


def test_a_plan_may_name_what_to_stand_beside():
    entry = trial("EM", dataset="cifar10_5k", victim="small")
    assert values(entry, {**PLAN, "published": {"dataset": "cifar10", "victim": "resnet18"}}) == [(15.37, "")]
    mapping = {"dataset": {"cifar10_5k": "cifar10"}, "victim": "resnet18"}
    assert values(entry, {**PLAN, "published": mapping}) == [(15.37, "")]


def test_retrieval_numbers_are_found_by_direction():
    plan = {"paradigm": "contrastive"}
    entry = trial("Random Guess", "pair", dataset="flickr8k", victim="rn50")
    assert values(entry, plan, 2, measure("i2t_hit@10")) == [(1.2, "")]
    assert values(entry, plan, 2, measure("t2i_medr")) == [(490.0, "")]


def test_mem_with_its_trigger_and_without_are_two_rows():
    plan = {"paradigm": "contrastive"}

    def printed_in(name):
        entry = trial(name, "pair", dataset="flickr8k", victim="rn50")
        matches = find(entry, plan, measure("i2t_medr"), load())
        return {(match.figure.source, match.figure.table) for match in matches}

    assert ("t2ue", 2) not in printed_in("MEM-3") and ("mem", 1) in printed_in("MEM-3")
    assert printed_in("MEM-3 (noise only)") == {("t2ue", 2)}


def test_what_is_printed_of_noise_per_pair_stands_beside_no_noise_per_image():
    plan, wanted = {"paradigm": "contrastive"}, (measure("i2t_hit@10"), measure("protect_hours"))
    place = {"dataset": "flickr8k", "victim": "rn50"}
    for metric, table, printed in zip(wanted, (2, 8), (11.6, 0.3), strict=True):
        assert values(trial("T2UE", "pair", **place), plan, table, metric) == [(printed, "")]
        assert values(trial("T2UE", "image", **place), plan, table, metric) == []
    clean = trial("No Protection", "", control="clean", poison_ratio=0.0, **place)
    assert values(clean, plan, 2, wanted[0]) == [(17.7, "")]


def test_a_missing_ratio_means_any():
    head = ",".join(load()[0].__dataclass_fields__)
    (figure,) = parse([head, "t2ue,4,supervised,cifar10,EM,sample,resnet18,,,,accuracy,15.37"])
    assert figure.poison_ratio is None
    assert len(find(trial("EM", poison_ratio=0.3), PLAN, ACCURACY, (figure,))) == 1


def test_papers_and_names_in_words():
    assert (paper("t2ue"), paper("mem-supp")) == ("T2UE", "MEM supplementary")
    assert same_name("Tiny-MSCOCO") == same_name("tiny_mscoco") != same_name("mscoco")
    assert named_tables("T2UE, tables 3 and 4; MEM supplementary, table 1") == {
        ("t2ue", 3),
        ("t2ue", 4),
        ("memsupplementary", 1),
    }


def report(trials, records=None, published=True, **plan):
    full = {**PLAN, "suite": "s", "trials": trials, **plan}
    return build_report(full, records or {}, published)


def test_the_table_names_paper_and_table_and_shows_those_of_the_source():
    text = render(report([trial("EM"), trial("AR")], source="T2UE, tables 3 and 4"), "markdown", WIDE)
    assert "published: T2UE table 4" in text
    assert "T2UE table 5" not in text and "T2UE table 6" not in text
    assert "10.41 (listed as class-wise)" in text


def test_tables_that_disagree_stand_side_by_side():
    entry = trial("No Protection", "", control="clean", poison_ratio=0.0)
    text = render(report([entry]), "markdown", WIDE)
    assert "published: T2UE table 4" in text and "published: T2UE table 6" in text
    assert "90.34" in text and "83.91" in text


def test_a_heading_says_so_where_other_data_stands_beside():
    entry = trial("EM", dataset="cifar10_5k", victim="small")
    beside = {"dataset": "cifar10", "victim": "resnet18"}
    text = render(report([entry]), "markdown", WIDE)
    assert "the papers print no number" in text
    plan = {**PLAN, "suite": "s", "trials": [entry], "published": beside, "source": "T2UE, table 4"}
    text = render(build_report(plan, {}, published=True), "markdown", WIDE)
    assert "published: T2UE table 4, cifar10, resnet18" in text


def test_several_names_of_one_method_are_told_apart():
    entry = trial("T2UE", published_names=["T2UE(ViT/B-16)", "T2UE(ViT/B-32)"])
    text = render(report([entry], source="T2UE, table 4"), "markdown", WIDE)
    assert "13.76 (T2UE(ViT/B-16)) / 13.89 (T2UE(ViT/B-32))" in text


def test_several_columns_have_a_published_column_each():
    text = render(
        report([trial("EM"), trial("EM", dataset="cifar100")], source="T2UE, table 4"), "markdown", WIDE
    )
    assert "published: cifar10 in T2UE table 4" in text
    assert "published: cifar100 in T2UE table 4" in text


def test_published_numbers_stay_out_of_means_and_out_of_reports_that_do_not_ask():
    entry = trial("EM")
    record = {"id": entry["id"], "status": "done", "metrics": {"accuracy_last": 50.0}}
    with_them = report([entry], {entry["id"]: record})
    (row,) = csv.DictReader(io.StringIO(render(with_them, "csv")))
    assert float(row["mean"]) == 50.0
    assert row["published: T2UE table 4"] == "15.37"
    assert row["published as"].startswith("15.37 in T2UE table 4: EM, sample, cifar10, resnet18")
    without = render(report([entry], {entry["id"]: record}, published=False), "json")
    assert "15.37" not in without


def test_every_figure_is_read():
    assert len(load()) == 682


NAMES = {
    "methods": {
        "One": {"granularity": "image", "budget": "Linf 8/255", "paper": "Own"},
        "Free": {"method": "mine"},
    },
    "defenses": {"none": {"none": {}}, "squeeze10": {"squeeze": {"quality": 10}}},
}


def field(*rows):
    return parse_field(["paper,table,dataset,method,victim,defense,metric,value", *rows], NAMES)


def fits(figures, settings=None, **changes):
    entry = {**trial("One"), **changes}
    return [match.figure.value for match in find(entry, PLAN, ACCURACY, figures, settings)]


def test_a_number_of_the_field_stands_beside_what_compares_only():
    plain = field("P,1,cifar10,One,resnet18,none,accuracy,12.5")
    assert fits(plain) == [12.5]
    others = [
        {"granularity": "class"},
        {"budget": "Linf 16/255"},
        {"poison_ratio": 0.5},
        {"dataset": "cifar100"},
        {"victim": "vgg16"},
        {"defense": "squeeze"},
        {"method": "two", "published_names": ["Two"]},
    ]
    assert [fits(plain, **changes) for changes in others] == [[]] * len(others)
    squeezed = field("P,1,cifar10,One,resnet18,squeeze10,accuracy,80")
    assert fits(squeezed, {"quality": 10}, defense="squeeze") == [80.0]
    assert fits(squeezed, {"quality": 50}, defense="squeeze") == [], "another quality is another defense"
    assert fits(squeezed, None, defense="squeeze") == [], "nobody knows its quality"
    unknown = field("P,1,cifar10,Nobody,resnet18,none,accuracy,1", "P,1,cifar10,One,resnet18,odd,accuracy,2")
    assert fits(unknown, published_names=["Nobody", "One"]) == []


def test_the_methods_own_paper_comes_first_and_the_others_as_a_range(monkeypatch):
    rows = ("Own,2", "P,1", "Q,readme")
    figures = field(
        *(f"{row},cifar10,One,resnet18,none,accuracy,{10 + 20 * n}" for n, row in enumerate(rows))
    )
    monkeypatch.setattr("ue_bench.report.field_numbers.load", lambda: figures)
    monkeypatch.setattr("ue_bench.report.printed.load", lambda: ())
    text = render(report([trial("One"), trial("Two")]))
    assert "| 10.00 (30.00–50.00) |" in text or "| 10.00 [a] (30.00–50.00) |" in text
    for line in ("- P table 1 prints: one (image) 30.00", "- Q readme prints: one (image) 50.00"):
        assert line in text
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 120


def test_the_papers_that_a_suite_names_lead_where_the_methods_own_prints_nothing():
    text = render(report([trial("EM"), trial("OPS", "class", budget="L0 1 px")], source="T2UE, table 4"))
    em = [f.value for f in load_field() if (f.method, f.dataset, f.victim) == ("EM", "cifar10", "resnet18")
          and f.defense == "none" and f.metric == "accuracy"]  # fmt: skip
    assert f"15.37 ({min(em):.2f}–{max(em):.2f})" in text
    assert "15.56 [a] (13.67–36.55)" in text
    assert "[a] printed: in the method's own paper, OPS" in text
    assert "APBench leaderboard cifar10 prints: em (image) 20.78; ops (class) 14.69" in text


def test_names_of_the_field_are_ours():
    """Each name that a method of ours has in the papers' tables and that field.csv prints has terms."""
    known = {f.method for f in load_field() if f.terms.known}
    assert {"EM", "REM", "SEM", "TAP", "HYPO", "OPS", "CUDA", "PIL", "AR", "LSP", "Clean"} <= known
    assert not {f.terms.defense for f in load_field() if f.terms.known} - set(Registry().names("defenses"))
