"""The page: one HTML file that needs no network, no server and no JavaScript, and gives the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ue_bench.dimensions import NOTHING
from ue_bench.progress import duration
from ue_bench.report import cost
from ue_bench.report.efficiency import Payoff, payoffs
from ue_bench.report.tables import Report
from ue_bench.report.web.boards import LEVELS, RULE, Place, make_boards
from ue_bench.report.web.charts import cost_chart, curve_panels, ratio_panels, strip
from ue_bench.report.web.claims import make_claims
from ue_bench.report.web.columns import COLUMNS, complete, off_printed
from ue_bench.report.web.details import make_details
from ue_bench.report.web.entries import Entry, collect
from ue_bench.text import visible

MOST = 13.0  # em of a column's width; longer texts are wrapped

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = importlib.resources.files("ue_bench.report.web") / "templates"


@dataclass(frozen=True)
class Picture:
    """A picture of noise and what it makes of images, once in the page and shown in many places.

    Attributes:
        name: its id in the page.
        address: a ``data:`` address.
        label: what it shows.
        width, height: in pixels.
    """

    name: str
    address: str
    label: str
    width: int
    height: int


def as_html(
    reports: Sequence[Report],
    pictures: Mapping[str, bytes] | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The page of these reports.

    Args:
        reports: of one or many suites, of one or many stores.
        pictures: noise key -> WebP or PNG of its noise (left) and of protected images (right).
        links: trial id -> address of its record, relative to the page.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    entries = collect(reports)
    shown = _pictures(entries, pictures or {})
    names = {key: picture.name for key, picture in shown.items()}
    boards = make_boards(entries)
    claims = make_claims(entries)
    style, script = _read("page.css") + _column_rules(entries), _read("page.js")
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.jinja").render(
        title=_title(reports),
        style=style,
        script=script,
        policy=_policy(style, script),
        summary=_summary(reports, entries),
        rule=RULE,
        boards=boards,
        levels=range(LEVELS + 1),
        columns=COLUMNS,
        constant=_constant(entries),
        entries=entries,
        filters=_filters(entries),
        complete=complete,
        off_printed=off_printed,
        nothing=NOTHING,
        details=make_details(entries, links or {}, names),
        claims=claims,
        strip=strip,
        setting=_setting,
        breakable=_breakable,
        victims=lambda places: [(k, len(list(g))) for k, g in itertools.groupby(places, _victim)],
        reasons=lambda board: list(
            dict.fromkeys(
                tile.entry.reason for row in board.rows for tile in row.tiles if tile and not tile.entry.valid
            )
        ),
        lines_of=lambda chart: [(line.look, line.name) for line in chart.lines],
        box=lambda name: next(f"0 0 {p.width} {p.height}" for p in shown.values() if p.name == name),
        cost_charts=[chart for board in boards if (chart := cost_chart(board))],
        paid=_paid(reports),
        hours=lambda value: duration(3600 * value, 1) if value else NOTHING,
        unseen=_unseen(entries, shown),
        curves=[panels for report in reports if (panels := curve_panels(report))],
        ratios=[panels for report in reports if (panels := ratio_panels(report))],
        pictures=list({picture.name: picture for picture in shown.values()}.values()),
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _column_rules(entries: Sequence[Entry]) -> str:
    """The style of each column: its width, and that it can be hidden (no script may add a rule)."""
    rules = []
    for column in COLUMNS:
        longest = max((_width(column.cell(entry).text) for entry in entries), default=0.0)
        bold = 1.12 if column is COLUMNS[0] else 1.0
        width = min(MOST, max(bold * longest, 1.1 * _width(column.heading) + 1.2, 2.5))
        rules.append(f".cells .k-{column.key} {{ width: calc({width:.1f}em + 17px); }}")
        rules.append(f".hide-{column.key} .k-{column.key} {{ display: none !important; }}")
    return "\n".join(["", *rules, ""])


def _width(text: str) -> float:
    """About how wide a text is, in em."""
    return sum(
        0.36 if letter in " .,:;()[]|ilj-/" else 0.62 if letter not in "mwMW%±+" else 0.9 for letter in text
    )


def _breakable(text: str) -> Markup:
    """A name that may be broken behind each underscore and before each plus."""
    from markupsafe import Markup, escape

    parts = visible(text).replace("_", "_\0").replace("+", "\0+").split("\0")
    return Markup("<wbr>").join(escape(part) for part in parts)


def _victim(place: Place) -> str:
    return ", ".join(part for part in (place.victim, place.way) if part)


def _setting(entry: Entry) -> str:
    """Method, data and their size, victim and length of training: what stands beside a paper's number."""
    recipes = [(record.get("config") or {}).get("recipe") or {} for record in entry.cell.records]
    epochs = dict.fromkeys(recipe["epochs"] for recipe in recipes if "epochs" in recipe)
    words = [entry.name] if entry.trial.get("granularity") else []
    words += [str(entry.trial.get("dataset_label") or entry.trial.get("dataset"))]
    words += [entry.size] if entry.size else []
    words += [str(entry.trial.get("victim"))]
    words += [f"{each} epochs" for each in epochs]
    words += ["reduced"] if entry.row.reduced else []
    return ", ".join(words)


def _constant(entries: Sequence[Entry]) -> set[str]:
    """Keys of columns that say the same in every row, where there are several."""
    if len(entries) < 2:
        return set()
    return {c.key for c in COLUMNS[1:] if c.key != "result" and len({c.cell(e).text for e in entries}) == 1}


def _printable(value: Any) -> Any:
    """Text with characters that steer a page spelled out; what templates made themselves stays."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else visible(value)


def _policy(style: str, script: str) -> str:
    """A content-security policy that allows this style, this script and inlined pictures, and nothing else."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _title(reports: Sequence[Report]) -> str:
    titles = list(dict.fromkeys(str(r.plan.get("title") or r.plan.get("suite") or "") for r in reports))
    return titles[0] if len(titles) == 1 and titles[0] else "ue-bench: results"


def _summary(reports: Sequence[Report], entries: Sequence[Entry]) -> dict[str, Any]:
    """Counts for the front: cells, trials, suites, data sets, devices, device time, days, marks."""
    findings = {f.trial["id"]: f for report in reports for f in report.findings}
    records = [f.record for f in findings.values() if f.record is not None]
    totals = cost.totals(records)
    spent = []
    if totals["core_seconds"]:
        spent.append(f"{totals['core_seconds'] / 3600:.3g} core-hours")
    if totals["gpu_hours"]:
        spent.append(f"{totals['gpu_hours']:.3g} GPU-hours")
    days = sorted({str(r["created"])[:10] for r in records if r.get("created")})
    states = Counter("valid" if entry.valid else "not valid" for entry in entries)
    return {
        "trials": sum(f.state == "done" for f in findings.values()),
        "planned": len(findings),
        "suites": len({report.plan.get("suite") for report in reports}),
        "datasets": list(
            dict.fromkeys(str(e.trial.get("dataset_label") or e.trial.get("dataset")) for e in entries)
        ),
        "methods": len({e.trial.get("method") for e in entries if not e.cell.control}),
        "devices": list(dict.fromkeys(str((r.get("device") or {}).get("name") or "") for r in records)),
        "spent": " and ".join(spent) or duration(totals["wall_seconds"], 1),
        "days": " to ".join(dict.fromkeys(days[:1] + days[-1:])),
        "invalid": states["not valid"],
    }


def _filters(entries: Sequence[Entry]) -> list[tuple[Any, list[tuple[str, int]]]]:
    """(column, [(value, how many rows)]) of each column that is filtered and has several values."""
    found = []
    for column in COLUMNS:
        if column.filtered:
            counts = Counter(column.cell(entry).text for entry in entries)
            if len(counts) > 1:
                found.append((column, sorted(counts.items(), key=lambda pair: pair[0].lower())))
    return found


def _paid(reports: Sequence[Report]) -> list[list[Payoff]]:
    """The payoffs of each method that prepares once; what several suites repeat stands once."""
    found: dict[str, dict[str, Payoff]] = {}
    for report in reports:
        for payoff in payoffs(report.findings, report.layout.variants):
            found.setdefault(payoff.name, {}).setdefault(payoff.other, payoff)
    return [sorted(others.values(), key=lambda p: p.datasets) for others in found.values()]


def _unseen(entries: Sequence[Entry], shown: Mapping[str, Picture]) -> dict[str, list[str]]:
    """Data set -> methods with noise that no picture shows."""
    found: dict[str, dict[str, bool]] = {}
    for entry in entries:
        keys = [str((r.get("noise") or {}).get("key")) for r in entry.cell.records if r.get("noise")]
        if keys:
            label = str(entry.trial.get("dataset_label") or entry.trial.get("dataset"))
            names = found.setdefault(label, {})
            names[entry.name] = names.get(entry.name, False) or any(key in shown for key in keys)
    missing = {label: [name for name, seen in names.items() if not seen] for label, names in found.items()}
    return {label: names for label, names in missing.items() if names}


def _pictures(entries: Sequence[Entry], given: Mapping[str, bytes]) -> dict[str, Picture]:
    """noise key -> picture, for the first noise of each method, budget and data set; equal settings share it."""
    found: dict[str, Picture] = {}
    of_arm: dict[tuple[Any, ...], Picture] = {}
    for entry in entries:
        arm = (entry.name, entry.trial.get("budget"), entry.trial.get("dataset_label"), entry.variant)
        for record in entry.cell.records:
            key = str((record.get("noise") or {}).get("key"))
            if key not in given:
                continue
            if arm not in of_arm:
                label = ", ".join(str(part) for part in arm if part)
                of_arm[arm] = _picture(f"p{len(of_arm)}", label, given[key])
            found[key] = of_arm[arm]
    return found


def _picture(name: str, label: str, content: bytes) -> Picture:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        kind, (width, height) = str(image.format).lower(), image.size
    return Picture(
        name, f"data:image/{kind};base64,{base64.b64encode(content).decode()}", label, width, height
    )
