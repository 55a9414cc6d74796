"""A report in the format that is asked for."""

from __future__ import annotations

from collections.abc import Callable

from ue_bench.errors import unknown
from ue_bench.report.display import Text, grid, setting
from ue_bench.report.footer import footer
from ue_bench.report.footnotes import footnotes
from ue_bench.report.latex import as_latex
from ue_bench.report.machine import as_csv, as_json
from ue_bench.report.tables import Report


def as_markdown(report: Report) -> str:
    """A heading, the table, its footnotes, and how it was made."""
    from tabulate import tabulate

    table = grid(report)
    rows = [[_cell(text) for text in row] for row in table.rows]
    align = ["left"] * table.names + ["right"] * (len(table.headings) - table.names)
    if table.headings[-1:] == ["marks"]:
        align[-1] = "left"
    headings = [_escape(heading) for heading in table.headings]
    lines = tabulate(rows, headings, tablefmt="pipe", disable_numparse=True, colalign=align if rows else None)
    parts = [
        f"### {report.plan.get('title') or report.plan.get('suite') or 'report'}",
        setting(report),
        lines,
    ]
    parts.append("\n".join(f"- {note}" for note in footnotes(report)))
    parts.append("How this was made:\n\n" + "\n".join(f"- {label}: {text}" for label, text in footer(report)))
    return "\n\n".join(part for part in parts if part) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
}


def render(report: Report, format: str = "markdown") -> str:
    """The report as text.

    Raises:
        ConfigError: for a format that does not exist.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    return FORMATS[format](report)


def _cell(text: Text) -> str:
    body = f"**{_escape(text.body)}**" if text.bold else _escape(text.body)
    return f"{body}{text.sign} {_escape(text.tail)}".strip()


def _escape(text: str) -> str:
    return text.replace("|", r"\|")
