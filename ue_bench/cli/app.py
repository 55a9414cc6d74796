"""The program to which commands are added, and what commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from ue_bench.errors import unknown

app = typer.Typer(
    name="ue-bench",
    help="A benchmark suite for unlearnable-example methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]


def one_of(what: str, word: str, allowed: tuple[str, ...]) -> None:
    """Raises a ConfigError that names the nearest words, unless the word is allowed."""
    if word not in allowed:
        raise unknown(what, word, allowed)
