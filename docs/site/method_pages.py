"""A page for each method, from what ``ue-bench show`` reads in its source and from the committed records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ue_bench.describe import DECLARED, readable
from ue_bench.dimensions import NOTHING
from ue_bench.gallery import thumbnails
from ue_bench.reading import Parameter, Reading
from ue_bench.registry import Entry as Content
from ue_bench.registry import Registry
from ue_bench.report import build_report
from ue_bench.report.web.columns import COLUMNS
from ue_bench.report.web.entries import Entry, collect
from ue_bench.trials.environment import Environment
from ue_bench_results.pages import stores

DIFFERS = re.compile(r"\bcode\b|authors'|differ", re.IGNORECASE)  # a paragraph, or a setting, of the code
NAME = re.compile(r"`(\w+)`")
SCALE = "Left: the noise; grey is none, black and white are 16 steps of 1/255 and more. Right: protected pictures."
PAGE = "../../results/page.html"
SHOWN = ("granularity", "budget", "dataset", "victim", "metric", "result", "n", "difference", "printed")
SHOWN += ("protect", "psnr", "state")
EXPLAINED = ("result", "difference", "printed", "protect")


def pages() -> dict[str, str | bytes]:
    """``docs/methods/NAME.md`` -> its Markdown, with the pictures and the page of all suites."""
    registry = Registry()
    reports, pictures = [], {}
    for store in stores():
        for plan in store.read_plans():
            records = store.read_records(trial["id"] for trial in plan["trials"])
            reports.append(build_report(plan, records))
            pictures |= thumbnails(plan, records, Environment(store.address, "cpu", ()))
    entries = collect(reports)
    found: dict[str, str | bytes] = {f"docs/methods/{key}.webp": data for key, data in pictures.items()}
    for content in registry.entries("methods"):
        own = [entry for entry in entries if str(entry.trial["method"]).partition(":")[0] == content.name]
        found[f"docs/methods/{content.name}.md"] = method_page(content, own, pictures)
    found["suites/README.md"] = suites_page(registry.entries("suites"))
    return found


def method_page(content: Content, entries: Sequence[Entry], pictures: Iterable[str]) -> str:
    """The Markdown of one method's page."""
    reading = content.reading
    assert reading is not None
    first, *paragraphs = reading.docstring.strip().split("\n\n")
    first, _, rest = first.partition("\n")
    paragraphs = [rest, *paragraphs] if rest else paragraphs
    parts = [
        "---\nhide: [toc]\n---",
        f"# {content.name}",
        first,
        _facts(reading),
        *(part for part in paragraphs if not DIFFERS.search(part)),
        *_pictures(content.name, entries, set(pictures)),
        "## Results",
        *_results(content.name, entries),
        *_differences(reading, [part for part in paragraphs if DIFFERS.search(part)]),
        "## Settings",
        f"`{content.name}.PARAMETER=VALUE` sets one on the command line.",
        _table(("setting", "default", "meaning, unit, source"), map(_setting, reading.parameters)),
    ]
    return "\n\n".join(parts) + "\n"


def with_links(overview: str) -> str:
    """The overview of methods (a table) with a link from each name in its first column to the method's page."""
    names = set(Registry().names("methods"))

    def link(found: re.Match[str]) -> str:
        return f"[{found[0]}](methods/{found[1]}.md)" if found[1] in names else found[0]

    lines = overview.split("\n")
    for i, line in enumerate(lines):
        if line.startswith("| `"):
            first, rest = line[2:].split(" | ", 1)
            lines[i] = " | ".join(("| " + NAME.sub(link, first), rest))
    return "\n".join(lines)


def suites_page(suites: Iterable[Content]) -> str:
    """The Markdown of the page of all suites, each with its file."""
    parts = [
        "# Suites",
        "A suite is a grid of trials and the table it fills. `ue-bench run suite=NAME` runs one.",
    ]
    for suite in suites:
        text = suite.path.read_text(encoding="utf-8").rstrip()
        parts += [f"## {suite.name}", f"```yaml\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def _facts(reading: Reading) -> str:
    """What it may see, its budget and the like, as a list."""
    facts = [
        (words, readable(reading.declarations[name]))
        for name, words in DECLARED.items()
        if name in reading.declarations
    ]
    facts += [("budget", f"`{item.default}`") for item in reading.parameters if item.name == "budget"]
    return "\n".join(f"- **{words}**: {_words(value)}" for words, value in facts)


def _pictures(name: str, entries: Sequence[Entry], kept: set[str]) -> list[str]:
    parts: dict[str, str] = {}
    for entry in entries:
        for record in entry.cell.records:
            key = (record.get("noise") or {}).get("key")
            if key in kept and key not in parts:
                where = f"{entry.name}, {entry.trial.get('dataset_label') or entry.trial.get('dataset')}"
                image = f'<img class="noise" alt="Noise of {where}" src="{key}.webp">'
                parts[key] = f"{image}\n\n*{where}. {SCALE}*"
    return ["## Its noise", *parts.values()] if parts else []


def _results(name: str, entries: Sequence[Entry]) -> list[str]:
    """The rows without a defense, all images protected, in each suite's first metric."""
    if not entries:
        return [f"The committed records hold no row of it: [all results]({PAGE})."]
    more = f"[Every cell of {name}]({PAGE}#method={name}), with defenses and other ratios, among all results."
    shown = [
        entry
        for entry in entries
        if entry.number == entry.opens
        and entry.trial.get("defense") in ("none", None)
        and entry.trial.get("poison_ratio") in (0.0, 1.0, None)
    ]
    if not shown:
        return [more]
    columns = [column for column in COLUMNS if column.key in SHOWN]
    found = {
        tuple(column.cell(entry).text for column in columns if column.key != "protect"): entry
        for entry in reversed(shown)  # suites repeat a measurement
    }
    rows = [[column.cell(entry).text for column in columns] for entry in reversed(found.values())]
    alike = [len(rows) > 1 and len({row[i] for row in rows}) == 1 for i in range(len(columns))]
    same = [
        f"{columns[i].heading} {rows[0][i]}"
        for i, is_so in enumerate(alike)
        if is_so and rows[0][i] != NOTHING
    ]
    kept = [i for i, is_so in enumerate(alike) if not is_so]
    table = _table([columns[i].heading for i in kept], ([row[i] for i in kept] for row in rows))
    sentence = "No defense, all images protected" + (f"; in every row {', '.join(same)}." if same else ".")
    meanings = [
        f"- *{columns[i].heading}*: {columns[i].meaning}" for i in kept if columns[i].key in EXPLAINED
    ]
    return [sentence, table, "\n".join(meanings), more]


def _differences(reading: Reading, paragraphs: Sequence[str]) -> list[str]:
    """What the docstring and the comments behind its settings say about paper and code."""
    settings = [item for item in reading.parameters if re.search(r"\bcode\b", item.comment)]
    if not paragraphs and not settings:
        return []
    parts = ["## Where paper and code differ", *paragraphs]
    if settings:
        parts += [
            "Settings that the authors' code decides or names:",
            "\n".join(f"- `{item.name}`: {_words(item.comment)}" for item in settings),
        ]
    return parts


def _setting(item: Parameter) -> tuple[str, str, str]:
    value = _code(item.default)
    for paradigm, other in item.elsewhere.items():
        value += f", {paradigm} {_code(other)}"
    allowed = f" ({item.allowed.removeprefix('in the ')})" if item.allowed else ""
    return _code(item.name), value, f"{item.comment}{allowed}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_words(cell) for cell in line) + " |" for line in lines)


def _words(text: str) -> str:
    """Text that is no HTML and ends no cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
