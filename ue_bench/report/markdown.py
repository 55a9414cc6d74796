"""A report as Markdown: tables whose source lines fit, and details that fold."""

from __future__ import annotations

import re

from ue_bench.report.display import Text
from ue_bench.report.page import View, make_page
from ue_bench.report.sheets import Sheet
from ue_bench.report.tables import Report
from ue_bench.text import markdown_text, one_line


def as_markdown(report: Report, view: View | None = None) -> str:
    """A heading, what is shown, the tables, their notes, a sentence in words, and how it was made."""
    view = view or View()
    page = make_page(report, view, None if view.wide else view.width, gap=3, edge=4)
    parts = [f"### {markdown_text(page.title)}", "  \n".join(markdown_text(line) for line in page.intro)]
    for sheet in page.sheets:
        if sheet.title:
            parts.append(f"**{markdown_text(sheet.title)}**")
        parts.append(pipe_table(sheet))
    parts.append("\n".join(f"- {markdown_text(note)}" for note in page.notes))
    if page.words:
        parts.append(f"**In words**: {markdown_text(page.words)}")
    details = "\n".join(
        f"- {markdown_text(label)}: {_code(text) if label == 'command' else markdown_text(text)}"
        for label, text in page.details
    )
    parts.append(f"<details>\n<summary>How this was made</summary>\n\n{details}\n\n</details>")
    return "\n\n".join(part for part in parts if part) + "\n"


def _code(text: str) -> str:
    """A code span, with a fence longer than any run of backticks in the text."""
    text = one_line(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def pipe_table(sheet: Sheet) -> str:
    """The sheet as a Markdown table whose columns are aligned in the source, too."""
    headings = [markdown_text(column.heading) for column in sheet.columns]
    rows = [[_cell(text) for text in row] for row in sheet.rows]
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    left = [n < len(sheet.names) or heading == "marks" for n, heading in enumerate(headings)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(cells, widths, left, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rules = [
        f":{'-' * (width + 1)}" if to_left else f"{'-' * (width + 1)}:"
        for width, to_left in zip(widths, left, strict=True)
    ]
    return "\n".join([line(headings), f"|{'|'.join(rules)}|", *(line(row) for row in rows)])


def _cell(text: Text) -> str:
    body = f"**{markdown_text(text.body)}**" if text.bold else markdown_text(text.body)
    return f"{body}{text.sign} {markdown_text(text.tail)}".strip()
