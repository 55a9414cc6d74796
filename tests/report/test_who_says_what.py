"""The pages of what papers print and of the claims tried: by hand, and as committed."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from reports import entry, record
from test_web import entries_of, figure

from ue_bench.registry import Registry
from ue_bench_results import claims, who_says_what
from ue_bench_results.claims import FELL, HELD, UNKNOWN, verdict
from ue_bench_results.pages import TOP, written

IDENTITY = "blur(identity)"


def cifar(method, value, source="one", **changes):
    return dataclasses.replace(figure(method, value, source), dataset="cifar10", **changes)


def test_a_source_that_repeats_its_run_tells_how_much_is_chance():
    figures = [
        cifar("A", 20.0),
        cifar("A", 14.0, defense=IDENTITY),
        cifar("B", 70.0),
        cifar("B", 72.0, defense=IDENTITY),
        cifar("C", 5.0, defense=IDENTITY),  # without a run to compare with
        cifar("B", 10.0, "two"),  # another source does not repeat the first
    ]
    pairs = who_says_what.repeats(figures)
    assert [(one.value, again.value) for one, again in pairs] == [(20.0, 14.0), (70.0, 72.0)]
    assert who_says_what.chance(figures) == 6.0


def test_the_leaderboards_repeats_differ_by_what_its_numbers_say():
    """By hand: EM 20.78 - 14.71 = 6.07, HYPO 70.38 - 62.17 = 8.21, the largest of nine."""
    pairs = {
        a.method: round(abs(a.value - b.value), 2)
        for a, b in who_says_what.repeats(claims.field_numbers.load())
    }
    assert len(pairs) == 9 and pairs["EM"] == 6.07
    assert round(who_says_what.chance(claims.field_numbers.load()), 2) == pairs["HYPO"] == 8.21


def ours(mean, examples):
    trial = entry(dataset="cifar10", method="m")
    noise = {"key": "k", "psnr_db": 33.0, "examples": examples}
    (found,) = entries_of([(trial, record(trial, mean, noise=noise))])
    return found


@pytest.mark.parametrize(
    ("mean", "protects", "found"),
    [(85.0, False, FELL), (86.0, False, HELD), (99.0, False, HELD), (98.0, True, HELD), (99.0, True, FELL)],
)
def test_a_claim_holds_on_its_side_of_the_number_or_near_it(mean, protects, found):
    """The claimed number is 92, and repeated runs differ by 6: 86 is near enough from below, 98 from above."""
    assert verdict(ours(mean, 50_000), 92.0, 6.0, protects) == found
    assert verdict(ours(mean, 5_000), 92.0, 6.0, protects) == UNKNOWN, "too small to decide"
    assert verdict(None, 92.0, 6.0, protects) == UNKNOWN


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.title)
def test_the_command_of_a_claim_can_be_planned(claim, command, tmp_path):
    if claim.method not in Registry().names("methods"):
        pytest.skip(f"there is no {claim.method}")
    words = [*shlex.split(claim.words), "dataset=shapes", "shapes.train_images=60", "shapes.test_images=20"]
    ended = command("run", *words, f"store={tmp_path}", "--dry-run", "--no-calibrate", "--all")
    assert ended.status == 0, ended.err
    assert claim.method in ended.out and claim.defense in ended.out


@pytest.mark.parametrize("name", ["who_says_what.md", "claims.md"])
def test_the_page_is_what_numbers_and_records_give_today(name):
    text = (TOP / "results" / name).read_text(encoding="utf-8")
    assert written()[name] == text, f"{name}: run python results/pages.py"
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 120
