"""The command ``report``: stores in, tables, pages and figures out."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from ue_bench.errors import ConfigError
from ue_bench.report import Report, View, build_report, render
from ue_bench.trials.store import Store
from ue_bench.words import read_paths, read_plugins, read_words

WORDS = {"suite": "", "profile": "", "store": "runs", "plugins": "", "out": ""}
USAGE = "ue-bench report [suite=NAME profile=NAME store=DIR out=FILE]"


def report_command(
    words: Sequence[str], format: str, view: View, published: bool, every: bool, figures: Path | None
) -> None:
    """Prints or writes the report of one or several stores.

    Args:
        words: ``suite= profile= store= plugins= out=``; ``store=[DIR,DIR]`` names several.
        format: one of the report's formats.
        view: how a person wants it.
        published: True to put the papers' numbers beside ours.
        every: True for every plan in the store, not only the newest of each suite.
        figures: the folder to draw into, or None.
    """
    given = read_words(words, WORDS, (), USAGE)
    if not given["store"]:
        raise ConfigError("store= is empty: leave it out for store=runs, or name a folder")
    plugins = read_plugins(given["plugins"])
    out = Path(given["out"]).expanduser() if given["out"] else None
    reports: list[Report] = []
    links: dict[str, str] = {}
    pictures: dict[str, bytes] = {}
    with _no_search_for_cycles():
        chosen = _plans([Store(path) for path in read_paths("store", given["store"])], given, every)
    for number, (store, plan) in enumerate(chosen, 1):
        with _no_search_for_cycles():
            records = store.read_records((trial["id"] for trial in plan["trials"]), later=True)
            made = build_report({**plan, "damaged": store.damaged}, records, published=published)
        reports.append(made)
        if format == "html":
            links |= record_links(store, records, out)
            pictures |= _pictures(plan, records, store, plugins)
        if figures:
            names = [str(part) for part in (plan["suite"], plan["profile"], number) if part]
            folder = figures / "_".join(names) if len(chosen) > 1 else figures
            _draw(made, store.address, plugins, folder)
    with _no_search_for_cycles():
        text = render(reports, format, replace(view, pictures=pictures, links=links))
    if out is None:
        typer.echo(text, nl=format == "json")
        return
    _write(out, text if text.endswith("\n") else f"{text}\n")
    typer.echo(f"wrote {out}", err=True)


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Python looks for cycles in all objects again and again, and plans, records and reports have none."""
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()


def record_links(store: Store, records: Mapping[str, Any], out: Path | None) -> dict[str, str]:
    """Trial id -> address of its record, seen from the folder of the page; none where no relative address exists."""
    if out is None or not store.local:
        return {}
    folder = os.path.relpath(store.root, out.resolve().parent)
    return {key: Path(folder, "trials", f"{key}.json").as_posix() for key in records}


def _plans(
    stores: Sequence[Store], given: Mapping[str, str], every: bool
) -> list[tuple[Store, dict[str, Any]]]:
    """Every plan to report, store by store."""
    found = []
    for store in stores:
        plans = store.read_plans(given["suite"] or None)
        plans = [plan for plan in plans if given["profile"] in ("", plan["profile"])]
        found += [(store, plan) for plan in (plans if every else _newest(plans))]
    if not found:
        raise ConfigError("; ".join(_empty(store, given["suite"]) for store in stores))
    return found


def _empty(store: Store, suite: str) -> str:
    known = sorted({plan["suite"] for plan in store.read_plans()})
    held = f"it holds {', '.join(known)}" if known else "it holds no run yet"
    held = f"{', '.join(store.damaged)} is damaged" if store.damaged and not known else held
    wanted = f" of suite '{suite}'" if suite else ""
    return f"store {store.address} has no run{wanted}: {held}. See: ue-bench run suite=NAME"


def _pictures(
    plan: Mapping[str, Any], records: Mapping[str, Any], store: Store, plugins: tuple[str, ...]
) -> dict[str, bytes]:
    from ue_bench.gallery import thumbnails
    from ue_bench.trials.environment import Environment

    return thumbnails(plan, records, Environment(store.address, "cpu", plugins))


def _write(out: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    unfinished = out.with_name(f".{out.name}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, out)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        reason = error.strerror or error
        raise ConfigError(f"cannot write {out}: {reason}. Name another file: out=FILE") from error


def _newest(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last plan of each suite and profile; the number of older ones is printed to standard error."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for plan in plans:
        groups.setdefault((plan["suite"], plan["profile"]), []).append(plan)
    for (suite, profile), group in groups.items():
        if older := len(group) - 1:
            name = f"{suite} ({profile})" if profile else suite
            hidden = "1 older plan" if older == 1 else f"{older} older plans"
            typer.echo(f"not shown: {hidden} of {name}; --all shows every plan", err=True)
    return [group[-1] for group in groups.values()]


def _draw(report: Any, store: str, plugins: tuple[str, ...], folder: Path) -> None:
    """Draws every figure of a report that can be made; names each on standard error, with the reason for the others."""
    from ue_bench.overview import draw_all
    from ue_bench.trials.environment import Environment

    environment = Environment(store, "cpu", plugins)
    try:
        for drawn in draw_all(report, environment, folder):
            typer.echo(str(drawn), err=True)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"cannot draw into {folder}: {reason}. Name another folder: --figures DIR"
        ) from error
