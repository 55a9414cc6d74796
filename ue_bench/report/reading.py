"""What a reader compares, as sheets: names, values, difference to the control, printed number, cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ue_bench.dimensions import NOTHING, UNBOUNDED, heading, method_in_words, value_in_words
from ue_bench.measures import BEST_EPOCH, MEAN5, WAYS
from ue_bench.progress import duration
from ue_bench.report import cost
from ue_bench.report.display import Text, signs, spread, value_of
from ue_bench.report.footnotes import REMARK
from ue_bench.report.layout import Key
from ue_bench.report.printed import Match, main_origin
from ue_bench.report.sheets import Column, Legend, Sheet, without_empty_rows
from ue_bench.report.tables import Report, Row
from ue_bench.report.validity import INVALID
from ue_bench.report.verdicts import reference, short_control

REDUCED = "°"
VARIANT = 16  # the most characters of a variant that is written into a row's name


def reading_sheets(report: Report, legend: Legend) -> list[Sheet]:
    """One sheet for each way of retrieval, or a single one without retrieval.

    A table with several columns gets further sheets for differences and printed numbers.
    """
    if not report.rows:
        return []
    names = _names(report, legend)
    found: list[Sheet] = []
    for way in dict.fromkeys(view.measure.way for view in report.measured):
        views = [view for view in report.measured if view.measure.way == way]
        make = _by_column if len(report.columns) > 1 else _side_by_side
        found += make(report, views, names, WAYS.get(way, ""), legend)
    return found


def row_name(report: Report, row: Row, legend: Legend) -> str:
    """``em (class)``, followed by its variant, or the legend's key for a long one, if the method has several."""
    name = method_in_words(row.trial)
    variant = report.layout.variants.get(row.trial["id"], "") if "variant" in report.layout.rows else ""
    if not variant:
        return name
    return f"{name}, {variant}" if len(variant) <= VARIANT else f"{name} {legend.key(variant)}"


def column_name(report: Report, column: Key, legend: Legend) -> str:
    """A column's values as a heading: a method with its granularity, a ratio or seed with the dimension's name."""
    values = dict(zip(report.layout.columns, column, strict=True))
    parts = []
    for dimension, value in values.items():
        if dimension == "method":
            parts.append(method_in_words({"method": value, "granularity": values.get("granularity")}))
        elif dimension == "variant":
            parts.append(legend.key(str(value)) if len(str(value)) > VARIANT else str(value))
        elif dimension in ("poison_ratio", "seed"):
            parts.append(f"{heading(dimension)} {value_in_words(dimension, value)}")
        elif dimension == "defense" and value == "none":
            parts.append("no defense")
        elif dimension != "granularity" or "method" not in values:
            parts.append(str(value))
    return ", ".join(part for part in parts if part)


def varying(report: Report) -> list[int]:
    """Places in a row's key of the dimensions that vary, beside its method; the clean control does not count.

    An unbounded budget is among them, because what was measured stands beside it.
    """
    with_method = "method" in report.layout.rows
    merged = ("method", "granularity", "variant") if with_method else ()
    noisy = [row for row in report.rows if row.trial.get("control") != "clean"]
    values = [{row.key[place] for row in noisy or report.rows} for place in range(len(report.layout.rows))]
    return [
        place
        for place, dimension in enumerate(report.layout.rows)
        if dimension not in merged
        and (
            not with_method
            or len(values[place]) > 1
            or (dimension == "budget" and UNBOUNDED in values[place])
        )
    ]


def common_n(report: Report) -> int:
    """The number of seeds that most cells have."""
    sizes = [cell.summary.n for row in report.rows for cell in row.cells.values() if cell.summary]
    return Counter(sizes).most_common(1)[0][0] if sizes else 0


def cost_unit(report: Report) -> str:
    """``core time`` on CPUs, ``GPU time`` on accelerators, ``device time`` for a mixture."""
    units = {cost.unit(record.get("device")) for record in report.records}
    if len(units) > 1:
        return "device time"
    return "GPU time" if units == {"accelerator_seconds"} else "core time"


def _names(report: Report, legend: Legend) -> tuple[Column, ...]:
    columns = []
    if "method" in report.layout.rows:
        texts = [Text(row_name(report, row, legend), _signs(row)) for row in report.rows]
        columns.append(Column("method", tuple(texts)))
    for place in varying(report):
        dimension = report.layout.rows[place]
        words = [
            NOTHING if _says_nothing(row, dimension) else value_of(row, dimension, row.key[place])
            for row in report.rows
        ]
        columns.append(Column(heading(dimension), tuple(Text(text) for text in words)))
    return tuple(columns)


def _signs(row: Row) -> str:
    return (REDUCED if row.reduced else "") + (REMARK if row.remarks else "")


def _says_nothing(row: Row, dimension: str) -> bool:
    """True if the row is a control without noise and has no value in this dimension."""
    silent = {"clean": ("budget", "granularity", "poison_ratio"), "share": ("budget", "granularity")}
    return dimension in silent.get(str(row.trial.get("control")), ())


def _side_by_side(
    report: Report, views: Sequence[Report], names: tuple[Column, ...], title: str, legend: Legend
) -> list[Sheet]:
    """The sheet of a table with one column: the metrics, the difference, the printed number and the cost."""
    n, lead = common_n(report), leading(views)
    column = report.columns[0]
    values = [_values(view, column, _short(view), n) for view in views]
    several = bool(report.others)
    if not lead.measure.cost:
        prefix = f"{_short(lead)} " if several else ""
        values.append(_differences(lead, column, f"{prefix}vs {short_control(report)}"))
    if report.printed and (origin := origin_of(views)):
        shown = [view for view in views if any(_of(match, origin) for match in matches_of([view]))]
        what = "/".join(_short(view) for view in shown)
        texts = [
            _joined([_printed(view, number, column, origin, legend) for view in shown])
            for number in range(len(report.rows))
        ]
        values.append(Column(f"printed {what}" if several else "printed", tuple(texts)))
    if not any(view.measure.cost for view in views) and views[0] is report:
        values.append(_cost(report))
    return [Sheet(title, names, tuple(values))]


def _by_column(
    report: Report, views: Sequence[Report], names: tuple[Column, ...], title: str, legend: Legend
) -> list[Sheet]:
    """The sheets of a table with several columns: values first, then differences, then printed numbers."""
    n, lead = common_n(report), leading(views)
    heads = {column: column_name(report, column, legend) for column in report.columns}
    values = [
        _values(view, column, f"{heads[column]} {_short(view)}" if len(views) > 1 else heads[column], n)
        for column in report.columns
        for view in views
    ]
    if not any(view.measure.cost for view in views) and views[0] is report:
        values.append(_cost(report))
    if (report.plan.get("table") or {}).get("worst"):
        values += [
            Column(f"worst {_short(view)}" if len(views) > 1 else "worst", worst(view)) for view in views
        ]
    found = [Sheet(title, names, tuple(values))]
    before = f"{title}: " if title else ""
    if not lead.measure.cost and n > 1:
        unit = "ranks" if lead.measure.unit == "rank" else "points"
        short = _short(lead).removesuffix(" %")
        what = f"{before}{short}, difference to {short_control(report)} in {unit} [95 % interval]"
        differences = _filled(_differences(lead, column, heads[column]) for column in report.columns)
        found.append(without_empty_rows(Sheet(what, names, differences)))
    if report.printed and (origin := origin_of(views)):
        columns = [
            Column(
                f"{heads[column]} {_short(view)}" if len(views) > 1 else heads[column],
                tuple(Text(_printed(view, i, column, origin, legend)) for i in range(len(report.rows))),
            )
            for column in report.columns
            for view in views
        ]
        found.append(without_empty_rows(Sheet(f"{before}printed in {origin}", names, _filled(columns))))
    return [sheet for sheet in found if sheet.values and sheet.rows]


def _filled(columns: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(column for column in columns if any(text.body != NOTHING for text in column.cells))


def _joined(texts: Sequence[str]) -> Text:
    return Text(" / ".join(texts) if set(texts) != {NOTHING} else NOTHING)


def leading(views: Sequence[Report]) -> Report:
    """The metric that represents several: Hit@10, or else the first."""
    return next((view for view in views if view.measure.name.endswith("hit@10")), views[0])


def matches_of(views: Iterable[Report]) -> list[Match]:
    """Every printed number beside a cell of these reports."""
    cells = [cell for view in views for row in view.rows for cell in row.cells.values()]
    return [match for cell in cells for match in cell.printed]


def origin_of(views: Sequence[Report]) -> str:
    """The paper and table whose numbers stand in the table; other papers' numbers are listed below it."""
    return main_origin(matches_of(views), views[0].plan)


def _short(view: Report) -> str:
    """A metric as a column's heading: ``accuracy %``, ``Hit@10``, ``protect (hours)``."""
    wanted = view.measure
    if wanted.cost:
        return wanted.label
    text = wanted.short.removeprefix(f"{wanted.way} ")
    if wanted.epoch == BEST_EPOCH:
        text = f"{text} best"
    if wanted.name.startswith(MEAN5):
        text = f"{text} mean5"
    return text if wanted.way else f"{text} %"


def worst(view: Report) -> tuple[Text, ...]:
    """For each row the value of the column where it protects least; where none counts, a dash."""
    pick = max if view.measure.lower_protects else min
    texts = []
    for row in view.rows:
        counting = [cell for cell in row.cells.values() if cell.summary and INVALID not in cell.marks]
        found = [cell.summary.mean for cell in counting if cell.summary]
        texts.append(Text(view.measure.text(pick(found)) if found else NOTHING))
    return tuple(texts)


def _values(view: Report, column: Key, head: str, n: int) -> Column:
    texts = []
    for row in view.rows:
        cell = row.cells.get(column)
        if cell is None or (view.measure.cost and cell.control == "clean"):
            texts.append(Text(NOTHING))
        elif cell.summary is None:
            texts.append(Text(cell.state))
        else:
            planned, own = len(cell.findings), cell.summary.n
            tail = f"({own} of {planned})" if own != planned else f"(n={own})" if own != n else ""
            body = spread(cell.summary.mean, cell.summary.std, view)
            texts.append(Text(body, signs(cell), tail, cell.leads))
    return Column(head, tuple(texts))


def _differences(view: Report, column: Key, head: str) -> Column:
    decimals = max(view.measure.decimals - 1, 0)
    texts = []
    for row in view.rows:
        cell = row.cells.get(column)
        found = reference(cell) if cell else None
        if found is None:
            texts.append(NOTHING)
            continue
        text = f"{found.mean:+.{decimals}f}"
        if found.interval:
            low, high = (f"{end:.{decimals}f}" for end in found.interval)
            text += f" [{low}, {high}]"
        texts.append(text)
    return Column(head, tuple(Text(text) for text in texts))


def _printed(view: Report, row: int, column: Key, origin: str, legend: Legend) -> str:
    """``13.76 (10.00–20.50)``: the method's own paper or else ``origin``, and what all others print.

    A number that needs a note is followed by a legend's key; several follow each other if a paper has several names.
    """
    cell = view.rows[row].cells.get(column)
    if cell is None:
        return NOTHING
    main = [match for match in cell.printed if _of(match, origin)]
    own = [match for match in cell.published if match.figure.terms and match.figure.terms.own]
    texts = [_noted(view, match, own or main, origin, legend) for match in own or main]
    others = [match.figure.value for match in (*main, *cell.elsewhere) if match not in (own or main)]
    if others:
        low, high = view.measure.text(min(others)), view.measure.text(max(others))
        texts = [" / ".join(dict.fromkeys(texts)), f"({low})" if low == high else f"({low}–{high})"]
        return " ".join(texts).strip()
    return " / ".join(dict.fromkeys(texts)) or NOTHING


def _noted(view: Report, match: Match, beside: Sequence[Match], origin: str, legend: Legend) -> str:
    """A printed number with the key of what a reader must know about it."""
    notes = [match.figure.method] if len({one.figure.method for one in beside}) > 1 else []
    notes += [match.note] if match.note else []
    notes += [] if _of(match, origin) else [f"in the method's own paper, {match.figure.source}"]
    text = view.measure.text(match.figure.value)
    return f"{text} {legend.key('printed: ' + ', '.join(notes))}" if notes else text


def _of(match: Match, origin: str) -> bool:
    return match.figure.origin == origin


def _cost(report: Report) -> Column:
    """The column with the device time of making the noise once."""
    texts = []
    for row in report.rows:
        records = [record for cell in row.cells.values() for record in cell.records]
        spent = [cost.mean_seconds(records, phase, "device_seconds") for phase in ("prepare", "protect")]
        known = [seconds for seconds in spent if seconds is not None]
        nothing = row.trial.get("control") == "clean" or not known
        texts.append(Text(NOTHING if nothing else duration(sum(known), 1)))
    return Column(cost_unit(report), tuple(texts))
