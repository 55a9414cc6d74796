"""The commands for content: list, show, new, check."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ue_bench.cli.app import app, one_of
from ue_bench.cli.showing import columns_of, fit
from ue_bench.errors import ConfigError
from ue_bench.report.page import WIDTH
from ue_bench.text import visible


@app.command("list")
def list_content(
    kind: Annotated[str, typer.Argument(help="methods, victims, defenses, datasets or suites")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plugins: Annotated[
        list[str] | None, typer.Option("--plugin", help="A file or folder with more content.")
    ] = None,
) -> None:
    """List all methods, victims, defenses, datasets and suites, without importing them."""
    from ue_bench.registry import KINDS, Registry

    registry = Registry(plugins or [])
    kinds = (_kind(kind),) if kind else KINDS
    if as_json:
        found: dict[str, Any] = {
            of: [
                {"name": entry.name, "summary": entry.summary, "origin": entry.origin}
                for entry in registry.entries(of)
            ]
            for of in kinds
        }
        found["unavailable"] = [
            {"name": entry.name, "problem": entry.problem} for entry in registry.unavailable
        ]
        typer.echo(json.dumps(found, indent=1))
        return
    for of in kinds:
        typer.echo(of)
        width = max((len(name) for name in registry.names(of)), default=0)
        for entry in registry.entries(of):
            _tell(f"  {entry.name:<{width}}  {entry.summary}", width + 4)
    broken = [entry for entry in registry.unavailable if entry.kind in ("", *kinds)]
    if broken:
        typer.echo("unavailable")
        for entry in broken:
            _tell(f"  {entry.name}  {entry.problem} ({entry.path})", 4)


@app.command()
def show(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="method, victim, defense, dataset or suite; may be left out",
            show_default=False,
        ),
    ] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="as list prints it", show_default=False)] = "",
    plugins: Annotated[
        list[str] | None, typer.Option("--plugin", help="A file or folder with more content.")
    ] = None,
) -> None:
    """Show what a piece of content is, what it may see, its parameters with units, and its paper."""
    from ue_bench.describe import describe
    from ue_bench.registry import Registry

    if not kind:
        raise ConfigError("show what? Say ue-bench show NAME. See: ue-bench list")
    registry = Registry(plugins or [])
    entry = registry.find(_kind(kind), name) if name else registry.find_any(kind)  # one word is the name
    if entry.kind == "suites":
        typer.echo(visible(describe(entry)))  # a file that can be copied, as it is
    else:
        for line in describe(entry).splitlines():
            _tell(line, _comment(line))


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="method")],
    name: str,
    folder: Annotated[Path, typer.Option("--to", help="The folder to write the file into.")] = Path("."),
) -> None:
    """Write a module that is ready to fill in."""
    from ue_bench.scaffold import write_module

    path = write_module(_kind(kind), name, folder)
    typer.echo(f"wrote {path}\n  check it:  ue-bench check {path}")
    typer.echo(f"  run it:    ue-bench run suite=quickstart plugins=[{path}] method=[{path.stem}]")


@app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="PATH|NAME")],
    plugins: Annotated[
        list[str] | None, typer.Option("--plugin", help="A file or folder with more content.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Number of threads to compute with.")] = 1,
) -> None:
    """Run the conformance suite on a method, victim, defense or dataset, given as a file or a name."""
    from ue_bench.bounds import check_threads
    from ue_bench.conformance import check_target
    from ue_bench.threads import set_threads

    check_threads(threads)
    set_threads(threads)
    results = check_target(target, plugins or [])
    for result in results:
        mark = "ok    " if result.problem is None else "FAILED"
        problem = f"\n       {result.problem}" if result.problem else ""
        typer.echo(visible(f"{mark} {result.name}: {result.promise}{problem}"))
    failed = sum(result.problem is not None for result in results)
    typer.echo(f"{target}: {len(results) - failed} passed, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _tell(line: str, indent: int) -> None:
    """Prints a line, broken where it is too long, with its further lines indented."""
    typer.echo(fit(visible(line), columns_of(sys.stdout) or WIDTH, " " * indent))


def _comment(line: str) -> int:
    """Where the comment of a parameter starts, behind two spaces; 0 in other lines."""
    found = re.match(r"  \S.*?\s{2,}(?=\S)", line)
    return found.end() if found else 0


def _kind(word: str) -> str:
    from ue_bench.registry import KINDS

    plural = word if word in KINDS else f"{word}s"
    one_of("kind", plural, KINDS)
    return plural
