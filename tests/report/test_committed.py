"""The records under results/ give the numbers that were printed when they were committed, whatever the layout."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest

from ue_bench.report import build_report
from ue_bench.report.display import grid
from ue_bench.trials.store import Store
from ue_bench_results.pages import BLOCK, INDEX, PAIRS, index, pages, refresh

RESULTS = Path(__file__).parents[2] / "results"
SCREENSHOT = "figures/page.png"  # of the page of all results
COMMITTED = json.loads((Path(__file__).parent / "committed_tables.json").read_text(encoding="utf-8"))


@functools.cache
def read(store: str, suite: str):
    """(plan, records) of a suite's one plan in a committed store."""
    kept = Store(RESULTS / store)
    (plan,) = kept.read_plans(suite)
    return plan, kept.read_records(trial["id"] for trial in plan["trials"])


@pytest.mark.parametrize("table", COMMITTED, ids=lambda table: f"{table['store']}-{table['suite']}")
def test_every_number_is_what_the_records_give_today(table):
    made = grid(build_report(*read(table["store"], table["suite"]), published=True))
    assert made.headings == table["headings"]
    assert [[str(text) for text in row] for row in made.rows] == table["rows"]


def test_the_tables_of_the_pages_are_what_the_records_give_today():
    blocks = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        blocks += len(BLOCK.findall(text))
        assert refresh(text) == text, f"{page.name}: run python results/pages.py"
    assert blocks == len(COMMITTED) + 1, (
        "every table in a page of its own, the quickstart's in the README as well"
    )


def test_the_page_of_all_results_is_what_the_records_give_today():
    assert index() == INDEX.read_text(encoding="utf-8"), "results/index.html: run python results/pages.py"
    assert INDEX.stat().st_size < 3_000_000


def test_every_picture_of_noise_belongs_to_a_record():
    for folder in RESULTS.glob("*/pictures"):
        records = [
            json.loads(path.read_text(encoding="utf-8")) for path in folder.parent.glob("trials/*.json")
        ]
        keys = {(record["noise"] or {}).get("key") for record in records}
        assert {path.stem for path in folder.iterdir()} <= keys, folder


def test_every_picture_is_on_a_page_and_small():
    shown = {
        path
        for page in RESULTS.glob("*.md")
        for path in re.findall(r"!\[[^\]]+\]\((figures/\S+?)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == {f"figures/{path.name}" for path in (RESULTS / "figures").iterdir()}
    assert all(
        (RESULTS / path).stat().st_size < (300_000 if path == SCREENSHOT else 80_000) for path in shown
    )


def test_every_committed_plan_is_among_them_and_every_record_is_whole():
    together = {
        Path(store).name for page in pages() for store in PAIRS.findall(page.read_text(encoding="utf-8"))
    }
    plans = [
        (folder.name, plan)
        for folder in RESULTS.iterdir()
        if folder.is_dir() and (folder / "plans").is_dir()
        for plan in Store(folder).read_plans()
    ]
    of_their_own = {(store, plan["suite"]) for store, plan in plans if store not in together}
    assert of_their_own == {(table["store"], table["suite"]) for table in COMMITTED}
    assert together <= {store for store, _ in plans}
    for store, plan in plans:
        records = Store(RESULTS / store).read_records(trial["id"] for trial in plan["trials"])
        assert len(records) == len(plan["trials"]) and all(r["status"] == "done" for r in records.values())
