"""A report for a terminal of any width, drawn by rich, in colour if the terminal can show it."""

from __future__ import annotations

import io
from typing import Any

from ue_bench.report.page import View, make_page
from ue_bench.report.sheets import Sheet
from ue_bench.report.tables import Report
from ue_bench.text import one_line

LEAST = 40  # columns; narrower terminals break the lines themselves


class Printer:
    """Collects lines of at most ``view.width`` columns, names and words broken if need be."""

    def __init__(self, view: View) -> None:
        from rich.console import Console

        self.width = max(view.width, LEAST)
        self._out = io.StringIO()
        self._console = Console(
            file=self._out,
            width=self.width,
            force_terminal=view.colour,
            color_system="standard" if view.colour else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def say(self, text: str, style: str = "", indent: int = 0) -> None:
        """Prints a paragraph."""
        from rich.padding import Padding
        from rich.text import Text as Words

        self._console.print(Padding(Words(one_line(text), style=style), (0, 0, 0, indent)))

    def table(self, sheet: Sheet) -> None:
        """Prints an empty line, the sheet's title if it has one, and the sheet."""
        self._console.print()
        if sheet.title:
            self.say(sheet.title, "italic")
        self._console.print(_table(sheet))

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(line.rstrip() for line in self._out.getvalue().splitlines()) + "\n"


def as_terminal(report: Report, view: View | None = None) -> str:
    """The report as lines of at most ``view.width`` columns."""
    view = view or View()
    printer = Printer(view)
    page = make_page(report, view, printer.width, gap=3, edge=2)
    say = printer.say
    say(page.title, "bold")
    for line in page.intro:
        say(line)
    for sheet in page.sheets:
        printer.table(sheet)
    for note in page.notes:
        say(note, "dim", indent=1)
    if page.words:
        say("")
        say(f"In words: {page.words}")
    say("")
    if view.details:
        for label, text in page.details:
            say(f"{label}: {text}", indent=1)
    else:
        say(
            f"{page.brief}. What was reduced, versions, commit: ue-bench report --details; more columns: --wide",
            "dim",
        )
    return printer.text


def _table(sheet: Sheet) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text as Words

    table = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False, padding=(0, 1))
    for number, column in enumerate(sheet.columns):
        left = number < len(sheet.names) or column.heading == "marks"
        table.add_column(
            Words(one_line(column.heading)), justify="left" if left else "right", overflow="fold"
        )
    for row in sheet.rows:
        cells = []
        for text in row:
            style = "bold green" if text.bold else "red" if text.sign in ("†", "‡") else ""
            cells.append(Words(one_line(text), style=style))
        table.add_row(*cells)
    return table
