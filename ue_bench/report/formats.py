"""Every format of a report, declared once: the command line reads its choices here."""

from __future__ import annotations

from collections.abc import Callable

from ue_bench.errors import unknown
from ue_bench.report.latex import as_latex
from ue_bench.report.machine import as_csv, as_json
from ue_bench.report.markdown import as_markdown
from ue_bench.report.page import View
from ue_bench.report.tables import Report
from ue_bench.report.terminal import as_terminal

FORMATS: dict[str, Callable[[Report, View], str]] = {
    "markdown": as_markdown,
    "csv": lambda report, view: as_csv(report),
    "json": lambda report, view: as_json(report),
    "latex": lambda report, view: as_latex(report),
    "terminal": as_terminal,
}


def render(report: Report, format: str = "markdown", view: View | None = None) -> str:
    """The report as text.

    Args:
        format: one of FORMATS; csv, json and latex always have every column.
        view: how a person wants to see the others.

    Raises:
        ConfigError: for a format that does not exist.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](report, view or View())
