"""Every format of a report, declared once: the command line reads its choices here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ue_bench.errors import unknown
from ue_bench.report.latex import as_latex
from ue_bench.report.machine import as_csv, as_json
from ue_bench.report.markdown import as_markdown
from ue_bench.report.page import View
from ue_bench.report.tables import Report
from ue_bench.report.terminal import as_terminal
from ue_bench.report.web import as_html

Format = Callable[[Sequence[Report], View], str]


def _each(make: Callable[[Report, View], str]) -> Format:
    """A format that shows several reports one after the other."""
    return lambda reports, view: "\n\n".join(make(report, view) for report in reports)


def _json(reports: Sequence[Report], view: View) -> str:
    texts = [as_json(report) for report in reports]
    return texts[0] if len(texts) == 1 else "[" + ",\n".join(texts) + "]"


FORMATS: dict[str, Format] = {
    "markdown": _each(as_markdown),
    "csv": _each(lambda report, view: as_csv(report)),
    "json": _json,
    "latex": _each(lambda report, view: as_latex(report)),
    "terminal": _each(as_terminal),
    "html": lambda reports, view: as_html(reports, view.pictures, view.links),
}


def render(report: Report | Sequence[Report], format: str = "markdown", view: View | None = None) -> str:
    """One or several reports as text.

    Args:
        format: one of FORMATS; csv, json, latex and html always have every column.
        view: how a person wants to see the others.

    Raises:
        ConfigError: for a format that does not exist.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    reports = [report] if isinstance(report, Report) else report
    return FORMATS[format](reports, view or View())
