"""Puts the tables of the stores into the pages: ``python results/pages.py`` fills every block between two marks.

A block is ``<!-- table: store=results/NAME suite=SUITE -->`` to ``<!-- table: end -->`` and holds what
``ue-bench report --published`` prints; with ``only`` behind the suite, its first table alone. Nothing in a block is
edited by hand. ``<!-- pairs: store=results/NAME -->`` to ``<!-- pairs: end -->`` holds the table of ``pairs.py``.
It also makes ``results/index.html``, the page of all stores, and the pages ``who_says_what.md`` and ``claims.md``.
"""

from __future__ import annotations

import re
from pathlib import Path

from ue_bench.cli.reporting import record_links
from ue_bench.gallery import thumbnails
from ue_bench.report import View, build_report, render
from ue_bench.report.web.claims import make_claims
from ue_bench.report.web.entries import collect
from ue_bench.trials.environment import Environment
from ue_bench.trials.store import Store
from ue_bench_results import claims, who_says_what
from ue_bench_results.pairs import pairs_table

TOP = Path(__file__).resolve().parents[1]
INDEX = TOP / "results" / "index.html"
BLOCK = re.compile(r"<!-- table: store=(\S+) suite=(\S+)( only)? -->\n.*?<!-- table: end -->", re.DOTALL)

PAIRS = re.compile(r"<!-- pairs: store=(\S+) -->\n.*?<!-- pairs: end -->", re.DOTALL)


def pages() -> list[Path]:
    """The pages that may hold blocks."""
    return [TOP / "README.md", *sorted((TOP / "results").glob("*.md"))]


def refresh(text: str) -> str:
    """A page with every block as the records give it today."""
    text = PAIRS.sub(lambda found: _pairs(*found.groups()), text)
    return BLOCK.sub(lambda found: _block(*found.groups()), text)


def _pairs(store: str) -> str:
    kept = Store(TOP / store)
    trials = {trial["id"] for plan in kept.read_plans() for trial in plan["trials"]}
    content = pairs_table(kept.read_records(sorted(trials)).values())
    return f"<!-- pairs: store={store} -->\n{content}\n<!-- pairs: end -->"


def _block(store: str, suite: str, only: str | None) -> str:
    kept = Store(TOP / store)
    (plan,) = kept.read_plans(suite)
    report = build_report(
        plan, kept.read_records(trial["id"] for trial in plan["trials"]), published=not only
    )
    content = render(report)
    if only:
        content = next(part for part in content.split("\n\n") if part.startswith("|")) + "\n"
    return f"<!-- table: store={store} suite={suite}{only or ''} -->\n{content}<!-- table: end -->"


def stores() -> list[Store]:
    """Every store under results/."""
    return [Store(path.parent) for path in sorted((TOP / "results").glob("*/plans"))]


def written() -> dict[str, str]:
    """The pages that are made as a whole from printed numbers and every record under results/: name -> text."""
    entries = collect(
        build_report(plan, store.read_records(trial["id"] for trial in plan["trials"]))
        for store in stores()
        for plan in store.read_plans()
    )
    return {
        "who_says_what.md": who_says_what.page(make_claims(entries)),
        "claims.md": claims.page(entries),
    }


def index() -> str:
    """The page of every record under results/, with the pictures of noise that are kept there."""
    reports, pictures, links = [], {}, {}
    for store in stores():
        for plan in store.read_plans():
            records = store.read_records(trial["id"] for trial in plan["trials"])
            reports.append(build_report(plan, records))
            pictures |= thumbnails(plan, records, Environment(store.address, "cpu", ()))
            links |= record_links(store, records, INDEX)
    return render(reports, "html", View(pictures=pictures, links=links))


if __name__ == "__main__":
    for page in pages():
        page.write_text(refresh(page.read_text(encoding="utf-8")), encoding="utf-8")
    for name, text in written().items():
        (TOP / "results" / name).write_text(text, encoding="utf-8")
    INDEX.write_text(index(), encoding="utf-8")
