"""Printed figures beside ours: what agrees, what contradicts, and what cannot be compared."""

from __future__ import annotations

import pytest
from reports import CLEAN, RANDOM, seeds, world

from ue_bench.report import build_report
from ue_bench.report.confronted import confront, page
from ue_bench.report.printed import parse
from ue_bench_results.confront import PAGE, confronted
from ue_bench_results.pages import stores

HEAD = "source,table,paradigm,dataset,method,granularity,victim,defense,poison_ratio,direction,metric,value"
PRINTED = parse(
    [
        HEAD,
        "t2ue,4,supervised,tiny,Untouched,sample,net,,1.0,,accuracy,90.0",
        "t2ue,4,supervised,tiny,Untouched,class,net,,1.0,,accuracy,90.0",
        "t2ue,4,supervised,tiny,Mine,sample,net,,1.0,,accuracy,15.0",
        "t2ue,4,supervised,tiny,Other,sample,net,,1.0,,accuracy,45.0",
        "t2ue,4,supervised,tiny,Mine,sample,wide,,1.0,,accuracy,15.0",
    ]
)


def lines(mine, full=40, size=40, **changes):
    """The figures, confronted with a clean victim at 92 % and a method at ``mine``."""
    noise = {"key": "k", "examples": size}
    config = {"train_fingerprint": f"of {size}", "recipe": {"epochs": 12, "crop_padding": 4}}
    names = {"published_names": ["Mine"], **changes}
    pairs = [
        *seeds({**CLEAN, "published_names": ["Untouched"]}, [92.0], config=config),
        *seeds(RANDOM, [91.0], config=config, noise=noise),
        *seeds(names, [mine], config=config, noise=noise),
    ]
    return confront(PRINTED, [build_report(*world(pairs))], full, "Untouched")


@pytest.mark.parametrize(
    ("mine", "verdict"),
    [
        (17.9, "agrees within 3 points"),  # 15 + 2.9
        (12.0, "agrees within 3 points"),
        (18.1, "same order"),
        (69.0, "same order"),  # 69 of 92 is a loss of a quarter
        (69.1, "contradicts"),
    ],
)
def test_verdicts_of_whole_training_sets(mine, verdict):
    made = lines(mine)
    assert [line.verdict for line in made] == [
        "agrees within 3 points",
        "agrees within 3 points",
        verdict,
        "not run",
        "not run",
    ]
    assert made[2].difference == pytest.approx(mine - 15.0) and made[0].difference == 2.0


def test_a_part_of_the_data_set_neither_agrees_nor_contradicts():
    for mine in (15.0, 91.0):
        line = lines(mine, full=50_000)[2]
        assert (line.verdict, line.reason) == ("not comparable", "40 images of 50,000")
    assert lines(15.0, size=0)[2].reason == "its images are not counted"


def test_what_else_differs_is_said():
    line = lines(15.0, reduced={"rounds": [2, 20]})[2]
    assert (line.verdict, line.reason) == ("agrees within 3 points", "method reduced")


def test_a_victim_that_learns_nothing_from_clean_images_is_no_evidence():
    pairs = [
        *seeds({**CLEAN, "published_names": ["Untouched"]}, [20.0]),  # the floor is 80
        *seeds({"published_names": ["Mine"]}, [15.0], noise={"key": "k", "examples": 40}),
    ]
    line = confront(PRINTED, [build_report(*world(pairs))], 40, "Untouched")[2]
    assert line.verdict == "not comparable" and "floor" in line.reason


def test_the_largest_of_several_experiments_stands_on_the_page():
    reports = [
        line.measured.report for line in (lines(80.0, size=20)[2], lines(16.0)[2], lines(70.0, size=30)[2])
    ]
    assert confront(PRINTED, reports[:1], 40, "Untouched")[2].verdict == "not comparable"
    assert confront(PRINTED, reports, 20, "Untouched")[2].measured.size == 40


def test_the_page_counts_and_has_a_row_for_every_figure():
    text = page(lines(70.0), "Title", "command", lambda figure: f"on {figure.victim}")
    assert "Of 5 printed figures: 2 agrees within 3 points, 1 contradicts, 2 not run." in text
    assert (
        "| Mine (sample) | 15.00 | 70.00 | 40 images, net, 12 epochs, crops, n=1 | +55.0 | contradicts |"
        in text
    )
    assert text.count("\n| ") == 5 + 2 * 2 and "## on wide" in text
    assert "nothing on this page speaks for or against" not in text
    assert "nothing on this page speaks for or against" in page(
        lines(70.0, full=50_000), "Title", "command", lambda figure: f"on {figure.victim}"
    )


def test_the_committed_page_is_what_the_records_give_today():
    text = PAGE.read_text(encoding="utf-8")
    assert confronted(stores()) == text, "run python results/confront.py"
    assert "Of 140 printed figures" in text and "contradicts" not in text.split("*Agrees", 1)[0]
