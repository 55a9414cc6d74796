"""The papers' printed numbers for a trial. They stand beside measured numbers and never enter a mean."""

from __future__ import annotations

import csv
import functools
import importlib.resources
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.measures import Measure, number
from ue_bench.report.layout import Trial

# Our granularity -> the papers' word for it.
GRANULARITIES = {"image": "sample", "pair": "sample", "class": "class"}
_PARTS = {"supp": "supplementary"}


@dataclass(frozen=True)
class Terms:
    """What a row must be for a figure to stand beside it, where no source says it in our words.

    Attributes:
        known: False if nothing here compares.
        method: ours, or "" for any whose published names list the figure's.
        granularity, budget: of the row's noise.
        defense, settings: its name here, and the parameters that it must have.
        own: True if the source is the method's own paper.
    """

    known: bool = False
    method: str = ""
    granularity: str = ""
    budget: str = ""
    defense: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    own: bool = False

    def fit(self, figure: Figure, trial: Trial, defense: str, settings: Mapping[str, Any]) -> bool:
        """Whether a row with this defense, its parameters as its records give them, compares."""
        listed = figure.method in (trial.get("published_names") or ())
        if not self.known or not (listed or self.method == trial.get("method")):
            return False
        if trial.get("control") != "clean" and (self.granularity, self.budget) != (
            trial.get("granularity"),
            trial.get("budget"),
        ):
            return False
        asked = dict(self.settings)
        return self.defense == (defense or "none") and asked == {key: settings.get(key) for key in asked}


@dataclass(frozen=True)
class Figure:
    """One printed number; empty text and None mean "does not apply" or "not said". Units: percent, or a rank.

    ``sd`` is the standard deviation that is printed with it. ``table`` is a number, or a word for what has none.
    ``terms`` say what it compares with; without them the words of the papers' tables do.
    """

    source: str
    table: int | str
    paradigm: str
    dataset: str
    method: str
    granularity: str
    victim: str
    defense: str
    poison_ratio: float | None
    direction: str
    metric: str
    value: float
    sd: float | None = None
    terms: Terms | None = None

    @property
    def origin(self) -> str:
        """Paper and table in words."""
        table = f"table {self.table}" if str(self.table).isdigit() else str(self.table)
        return f"{paper(self.source)} {table}"


@dataclass(frozen=True)
class Match:
    """A printed number that belongs beside a cell, and what a reader must know about it (or "")."""

    figure: Figure
    note: str = ""


@functools.cache
def load() -> tuple[Figure, ...]:
    """Every printed number that comes with the package."""
    path = importlib.resources.files("ue_bench_results") / "published.csv"
    return parse(path.read_text(encoding="utf-8").splitlines())


def parse(lines: Iterable[str]) -> tuple[Figure, ...]:
    """Figures from the lines of a CSV file with a header."""
    figures = []
    for row in csv.DictReader(lines):
        ratio = float(row["poison_ratio"]) if row["poison_ratio"] else None
        values: dict[str, Any] = {
            "table": int(row["table"]),
            "poison_ratio": ratio,
            "value": float(row["value"]),
        }
        figures.append(Figure(**{**row, **values}))
    return tuple(figures)


def paper(source: str) -> str:
    """A source's name in words; one with a capital letter is spelled out already."""
    if source != source.lower():
        return source
    name, _, part = source.partition("-")
    return f"{name.upper()} {_PARTS.get(part, part)}".strip()


def find(
    trial: Trial,
    plan: Mapping[str, Any],
    wanted: Measure,
    figures: Sequence[Figure],
    settings: Mapping[str, Any] | None = None,
) -> tuple[Match, ...]:
    """The figures for the same method, data, victim, defense and ratio, from every table that prints one.

    A method that a table lists under a single granularity matches a trial of any granularity; a note says so. What is
    printed for pairs is of one noise per pair, and stands beside no other. A control without noise matches at any ratio
    and granularity. A figure with terms matches by these alone.

    Args:
        settings: the parameters of the trial's defense, as its records give them; None if nobody knows them.
    """
    names = set(trial.get("published_names") or [])
    place = {key: beside(plan, trial, key) for key in ("dataset", "victim", "defense")}
    fits = _fitting(plan, place, wanted)
    alike = [
        f
        for f in figures
        if fits(f)
        and (f.terms.fit(f, trial, place["defense"], settings or {}) if f.terms else f.method in names)
    ]
    if trial.get("control") != "clean":
        alike = [f for f in alike if f.poison_ratio in (None, number(trial.get("poison_ratio")))]
    groups: dict[tuple[str, int | str, str], list[Figure]] = {}
    for figure in alike:
        groups.setdefault((figure.source, figure.table, figure.method), []).append(figure)
    return tuple(match for group in groups.values() for match in _by_granularity(group, trial))


def beside(plan: Mapping[str, Any], trial: Trial, key: str) -> str:
    """The dataset, victim or defense to look for: the trial's own unless the plan names another.

    The plan's ``published`` holds one name for all, or a mapping from our names to theirs.
    """
    own = str(trial.get(key) or "")
    other = (plan.get("published") or {}).get(key)
    return str(other.get(own, own) if isinstance(other, Mapping) else other or own)


def shown_tables(matches: Sequence[Match], plan: Mapping[str, Any]) -> set[tuple[str, int | str]]:
    """The (source, table) pairs to show: the matched ones that the suite's source names.

    If none is named, all of the papers' tables, and of what has terms the one that prints most.
    """
    found = {(match.figure.source, match.figure.table) for match in matches if match.figure.terms is None}
    named = named_tables(str(plan.get("source") or ""))
    kept = {pair for pair in found if (same_name(paper(pair[0])), pair[1]) in named}
    if kept:
        return kept
    main = main_origin(matches, plan)
    return found | {(m.figure.source, m.figure.table) for m in matches if m.figure.origin == main}


def main_origin(matches: Iterable[Match], plan: Mapping[str, Any]) -> str:
    """The paper and table that prints most of these; in a tie, the one that the suite's source names first."""
    counts = Counter(match.figure.origin for match in matches)
    source = same_name(str(plan.get("source") or ""))

    def place(origin: str) -> int:
        found = source.find(same_name(origin.partition(" table")[0]))
        return found if found >= 0 else len(source)

    return min(counts, key=lambda origin: (-counts[origin], place(origin)), default="")


def named_tables(text: str) -> set[tuple[str, int | str]]:
    """(paper, table) for each table that a suite's source names, as in ``PAPER, tables 3 and 4; OTHER, table 1``."""
    named: set[tuple[str, int | str]] = set()
    for clause in text.split(";"):
        name, _, numbers = clause.partition("table")
        named |= {(same_name(name), int(digits)) for digits in re.findall(r"\d+", numbers)}
    return named


@functools.lru_cache(4096)
def same_name(name: str) -> str:
    """A spelling in which ``Tiny-COCO`` and ``tiny_coco`` are equal."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _fitting(plan: Mapping[str, Any], place: Mapping[str, str], wanted: Measure) -> Callable[[Figure], bool]:
    """Whether a figure is of this metric, dataset, victim and defense, as a function."""
    named = plan.get("published") or {}  # a study without a paper of its own may name another paradigm
    dataset, victim = same_name(place["dataset"]), same_name(place["victim"])
    defense = same_name(place["defense"] or "none")
    return lambda figure: (
        (figure.metric, figure.direction) == wanted.printed
        and figure.paradigm == named.get("paradigm", plan.get("paradigm", figure.paradigm))
        and same_name(figure.dataset) == dataset
        and same_name(figure.victim) == victim
        and (figure.terms is not None or same_name(figure.defense or "none") == defense)
    )


def _by_granularity(group: Sequence[Figure], trial: Trial) -> list[Match]:
    if group[0].terms:
        return [Match(figure) for figure in group]
    if trial.get("control") == "clean":
        return [Match(figure) for figure in {figure.value: figure for figure in group}.values()]
    wanted = GRANULARITIES.get(str(trial.get("granularity")), "")
    if group[0].paradigm.startswith("contrastive") and trial.get("granularity") != "pair":
        return []
    exact = [figure for figure in group if figure.granularity == wanted]
    if exact:
        return [Match(figure) for figure in exact]
    listed = {figure.granularity for figure in group}
    if len(listed) > 1:
        return []
    (only,) = listed
    return [Match(figure, f"listed as {only}-wise" if only else "") for figure in group]
