"""The list of the papers' tables names suites that exist, and pages that exist and show them."""

from __future__ import annotations

import re
from pathlib import Path

from ue_bench.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "papers_tables.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| table"))
]


def test_every_suite_exists():
    named = {name for _, suite, _ in ROWS for name in re.findall(r"`(\w+)`", suite)}
    assert len(ROWS) == 21 and named <= set(Registry().names("suites"))
    for suites in (row[1] for row in ROWS):
        assert re.fullmatch(r"`\w+`", suites)


def test_every_table_of_both_papers_is_there():
    told = " ".join(row[0] for row in ROWS)
    for table in (2, 3, 4, 5, 6, 7, 8):
        assert f"T2UE table {table}" in told
    for table in (1, 2, 3, 4, 5):
        assert f"MEM table {table}" in told
    assert {"MEM supplement, table 1", "MEM supplement, table 2", "T2UE appendix A.1"} <= {
        row[0] for row in ROWS
    }


def test_what_is_said_to_have_been_run_has_a_page_with_that_suites_table():
    for table, suite, run in ROWS:
        if pages := re.findall(r"\[page\]\((\S+?)\)", run):
            (page,) = pages
            text = (PAGE.parent / page).read_text(encoding="utf-8")
            assert f"suite={suite.strip('`')}" in text, (table, page)
