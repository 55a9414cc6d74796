"""How a report is shown: as a terminal's table on a terminal, otherwise as Markdown."""

from __future__ import annotations

import os
import shutil
import sys

from ue_bench.cli.app import one_of
from ue_bench.report.formats import FORMATS
from ue_bench.report.page import WIDTH, View

FORMAT_HELP = f"{', '.join(FORMATS)}; without it: terminal on a terminal, else markdown."


def choose_view(format: str | None, wide: bool = False, details: bool = False) -> tuple[str, View]:
    """(format, view) for standard output; tables are as wide as the terminal, but not wider than a page.

    Raises:
        ConfigError: for a format that does not exist.
    """
    on_terminal = sys.stdout.isatty()
    chosen = format or ("terminal" if on_terminal else "markdown")
    one_of("format", chosen, tuple(FORMATS))
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    width = columns if wide and chosen == "terminal" else min(columns, WIDTH)
    colour = on_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return chosen, View(wide, details, width if chosen == "terminal" else WIDTH, colour)
