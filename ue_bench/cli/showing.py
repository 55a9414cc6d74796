"""How reports, lines, warnings and errors are shown: fitted to a terminal, otherwise as they are."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import typer

from ue_bench.cli.app import one_of
from ue_bench.report.formats import FORMATS
from ue_bench.report.page import WIDTH, View
from ue_bench.text import visible


def format_help(formats: Iterable[str]) -> str:
    """The help of an option ``--format`` that accepts these."""
    return f"{', '.join(formats)}; default: terminal on a terminal, else markdown."


def choose_view(
    format: str | None, wide: bool = False, details: bool = False, allowed: Sequence[str] = tuple(FORMATS)
) -> tuple[str, View]:
    """(format, view) for standard output; tables are as wide as the terminal, but not wider than a page.

    Raises:
        ConfigError: for a format that does not exist.
    """
    on_terminal = sys.stdout.isatty()
    chosen = format or ("terminal" if on_terminal else "markdown")
    one_of("format", chosen, tuple(allowed))
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    width = columns if wide and chosen == "terminal" else min(columns, WIDTH)
    colour = on_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return chosen, View(wide, details, width if chosen == "terminal" else WIDTH, colour)


def fit(text: str, columns: int, indent: str = "") -> str:
    """The text with every line that is longer than ``columns`` broken between words.

    Words are never broken, so that paths and commands can be copied.

    Args:
        indent: indent of continuation lines; a short one is used where this takes more than half of the columns.
    """
    lines: list[str] = []
    for line in text.splitlines():
        if len(line) <= columns:
            lines.append(line)
            continue
        lines += textwrap.wrap(
            line,
            columns,
            subsequent_indent=indent if len(indent) <= columns // 2 else "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def columns_of(stream: TextIO) -> int | None:
    """The columns of a terminal, at most those of a page; None for anything else."""
    return min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if stream.isatty() else None


def show_error(text: object) -> None:
    """Prints a mistake to standard error, fitted to a terminal; a log gets each of its lines whole."""
    _say(f"ue-bench: {visible(text)}")


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Prints a warning: ours as a sentence, any other with its file and line."""
    ours = Path(filename).is_relative_to(Path(__file__).parents[1])
    place = "" if ours else f"{filename}:{lineno}: {category.__name__}: "
    _say(visible(f"ue-bench: warning: {place}{message}"))


def _say(text: str) -> None:
    columns = columns_of(sys.stderr)
    typer.echo(fit(text, columns) if columns else text, err=True)
