"""The front of the page: for each data set and recipe what every victim reaches, and methods by their weakest link."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.dimensions import ROLES, full_name
from ue_bench.measures import WAYS, Measure
from ue_bench.report.layout import make_layout
from ue_bench.report.reading import leading
from ue_bench.report.verdicts import better
from ue_bench.report.web.entries import Entry, training_set

LEVELS = 10  # steps of colour
LONGEST = 64  # characters of a name in a chart
RULE = (
    "Methods are ranked by their weakest link: the best result that any victim under any defense still reaches on "
    "clean test data. A heat map compares only what was trained on the same data by the same recipe. Methods share a "
    "rank if the first of them is not clearly better: by at least a tenth of what clean data give, with the whole 95 % "
    "interval over seeds on its side; with one seed, by a quarter. A method that was tried in fewer places has met "
    "fewer attacks and has no rank. Controls stand on top."
)


@dataclass(frozen=True)
class Place:
    """A column: a victim, trained under a defense and measured one way."""

    victim: str
    defense: str
    way: str

    @property
    def words(self) -> str:
        """``resnet18, jpeg``."""
        parts = [self.victim, "no defense" if self.defense == "none" else self.defense, self.way]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Tile:
    """One cell of the heat map: its entry, and from 0 (as on clean data) to LEVELS how much the victim lost."""

    entry: Entry
    level: int


@dataclass(frozen=True)
class Standing:
    """A row: a method in every place of the board.

    Attributes:
        name: the method with its granularity.
        budget: in words, "" without noise.
        variant: its setting where it takes part with several.
        remarks: what the method says about its noise.
        tiles: one for each place; None where it was not tried.
        weakest: the place where it protects least, or None without any valid number.
        rank: from 1, equal where the first is not clearly better; None for controls and what was tried in fewer places.
        tried: the number of places with a valid number.
    """

    name: str
    budget: str
    variant: str
    control: str | None
    reduced: bool
    remarks: tuple[str, ...]
    tiles: tuple[Tile | None, ...]
    weakest: int | None
    tried: int
    rank: int | None = None

    @property
    def note(self) -> str:
        """Budget and setting."""
        return ", ".join(part for part in (self.budget, self.variant) if part)

    @property
    def full_name(self) -> str:
        """The name with the setting, as short as a chart needs it."""
        text = f"{self.name}, {self.variant}" if self.variant else self.name
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

    @property
    def worst(self) -> Tile | None:
        """The tile of its weakest link."""
        return None if self.weakest is None else self.tiles[self.weakest]


@dataclass(frozen=True)
class Board:
    """One heat map with its ranking.

    Attributes:
        title: the data set.
        what: what is measured, and how the victims are trained, in words.
        toy: True if a profile other than ``paper`` made it.
    """

    title: str
    what: str
    measure: Measure
    places: tuple[Place, ...]
    rows: tuple[Standing, ...]
    toy: bool = False

    def short(self, place: Place) -> str:
        """A place without what all places share."""
        several = len({(p.victim, p.way) for p in self.places}) > 1
        defense = "no defense" if place.defense == "none" else place.defense
        parts = [place.victim if several else "", place.way, defense]
        return ", ".join(part for part in parts if part)

    @property
    def ranked(self) -> list[Standing]:
        """The rows that have a rank."""
        return [row for row in self.rows if row.rank is not None]


def make_boards(entries: Sequence[Entry]) -> list[Board]:
    """A board for each data set, kind of metric and way of training, the widest first."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        if _counts(entry):
            groups.setdefault(_group(entry), []).append(entry)
    boards = [_board(key, group) for key, group in groups.items()]
    return sorted((board for board in boards if board.rows), key=lambda b: -len(b.places) * len(b.rows))


def lost(entry: Entry) -> float | None:
    """The share of the clean result that the victim lost, from 0 to 1; None without a clean result."""
    found = entry.cell.differences.get("clean")
    if entry.cell.control == "clean":
        return 0.0
    if found is None or entry.cell.summary is None or found[0].summary is None:
        return None
    here, clean = entry.cell.summary.mean, found[0].summary.mean
    whole, rest = (clean, here) if entry.view.measure.lower_protects else (here, clean)
    return min(1.0, max(0.0, 1 - rest / whole)) if whole else None


def _counts(entry: Entry) -> bool:
    """True for full protection, in the metric that leads in its direction of retrieval; diagnostic victims are none."""
    measured = [view for view in entry.report.measured if view.measure.way == entry.view.measure.way]
    ratio = entry.trial.get("poison_ratio")
    whole = ratio in (1.0, None) or entry.cell.control == "clean"
    return (
        not entry.trial.get("diagnostic")
        and whole
        and entry.view.measure == leading(measured).measure
        and entry.cell.summary is not None
    )


def _group(entry: Entry) -> tuple[Any, ...]:
    measure = entry.view.measure
    label = entry.trial.get("dataset_label") or entry.trial.get("dataset")
    data = training_set(entry.cell), entry.size
    return label, data, measure.short.removeprefix(measure.way).strip(), measure.epoch, _training(entry)


def _training(entry: Entry) -> tuple[str, ...]:
    """How its victims are trained, in words: arms that are trained otherwise cannot be compared.

    Victims of some families change the optimizer and its learning rate, so these do not divide a board.
    """
    for record in entry.cell.records:
        config = record.get("config") or {}
        recipe = config.get("recipe") or {}
        words = [f"{recipe['epochs']} epochs"] if "epochs" in recipe else []
        words += [f"batches of {recipe['batch_size']}"] if "batch_size" in recipe else []
        words += ["crops" if recipe["crop_padding"] else "no crops"] if "crop_padding" in recipe else []
        words += ["flips" if recipe["flip"] else "no flips"] if "flip" in recipe else []
        words += [f"{config['image_size']} pixels"] if config.get("image_size") else []
        return tuple(words)
    return ()


def _place(entry: Entry) -> Place:
    way = WAYS.get(entry.view.measure.way, "")
    return Place(full_name(entry.trial, "victim"), full_name(entry.trial, "defense"), way)


def _board(key: tuple[Any, ...], entries: Sequence[Entry]) -> Board:
    label, (_, size), short, epoch, training = key
    trials = [finding.trial for entry in entries for finding in entry.cell.findings]
    variants = make_layout({"trials": list({t["id"]: t for t in trials}.values())}).variants
    places = sorted({_place(entry): None for entry in entries}, key=lambda p: (p.way, p.victim))
    arms: dict[Any, dict[Place, Entry]] = {}
    for entry in entries:
        variant = variants.get(entry.trial["id"], "") if entry.cell.control not in ROLES else ""
        budget = "" if entry.cell.control == "clean" else str(entry.trial.get("budget") or "")
        here = arms.setdefault((entry.name, budget, variant), {})
        kept = here.get(_place(entry))
        if kept is None or _n(entry) > _n(kept):
            here[_place(entry)] = entry
    rows = [_standing(arm, found, places) for arm, found in arms.items()]
    measure = entries[0].view.measure
    what = ", ".join(part for part in (short, epoch, size, *training) if part)
    toy = any(entry.report.plan.get("profile") not in (None, "", "paper") for entry in entries)
    return Board(str(label), what, measure, tuple(places), _ranked(rows, len(places), measure), toy)


def _n(entry: Entry) -> tuple[bool, int]:
    return entry.valid, entry.cell.summary.n if entry.cell.summary else 0


def _standing(arm: tuple[str, str, str], found: dict[Place, Entry], places: Sequence[Place]) -> Standing:
    name, budget, variant = arm
    tiles = tuple(_tile(found.get(place)) for place in places)
    valid = {n: _mean(tile) for n, tile in enumerate(tiles) if tile and tile.entry.valid}
    first = next(iter(found.values()))
    lower = first.view.measure.lower_protects
    weakest = (max if lower else min)(valid, key=lambda n: valid[n], default=None)
    remarks = tuple(dict.fromkeys(text for entry in found.values() for text in entry.row.remarks))
    reduced = any(entry.row.reduced for entry in found.values())
    return Standing(name, budget, variant, first.cell.control, reduced, remarks, tiles, weakest, len(valid))


def _tile(entry: Entry | None) -> Tile | None:
    if entry is None:
        return None
    share = lost(entry)
    return Tile(entry, 0 if share is None else round(LEVELS * share))


def _mean(tile: Tile) -> float:
    return tile.entry.cell.summary.mean if tile.entry.cell.summary else float("nan")


def _clearly_better(one: Standing, other: Standing, measure: Measure) -> bool:
    if not one.worst or not other.worst:
        return False
    return better(one.worst.entry.cell, other.worst.entry.cell, measure)


def _ranked(rows: Sequence[Standing], places: int, measure: Measure) -> tuple[Standing, ...]:
    """Controls, then methods that were tried in every place by rank, then the others; the best protection first."""

    def order(row: Standing) -> float:
        worst = row.worst
        value = _mean(worst) if worst else float("inf")
        return value if measure.lower_protects else -value

    controls = sorted((r for r in rows if r.control), key=lambda r: r.control != "clean")
    methods = [row for row in rows if not row.control]
    full = sorted((row for row in methods if row.tried == places), key=order)
    ranked: list[Standing] = []
    for place, row in enumerate(full, 1):
        rank = ranked[-1].rank if ranked else place
        if rank and _clearly_better(full[rank - 1], row, measure):
            rank = place
        ranked.append(dataclasses.replace(row, rank=rank))
    others = sorted((row for row in methods if row.tried < places), key=lambda r: (-r.tried, order(r)))
    return (*controls, *ranked, *others)
