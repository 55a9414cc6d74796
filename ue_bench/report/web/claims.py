"""Compares sources: what each prints for the same method, data, victim and defense, and what was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ue_bench.report import field_numbers, printed
from ue_bench.report.printed import Figure, same_name
from ue_bench.report.web.entries import Entry

CLEAN, NAMES_OF_CLEAN = "clean", ("clean", "noprotection")


@dataclass(frozen=True)
class Claim:
    """One question, and the answer of every source in percent.

    Attributes:
        method: as most sources spell it, with its granularity where that is by class.
        place: data set, victim and defense.
        figures: the printed answers, lowest first.
        ours: our entries for the same question, whose data and victims may be smaller.
    """

    method: str
    place: str
    figures: tuple[Figure, ...]
    ours: tuple[Entry, ...]

    @property
    def spread(self) -> float:
        """The highest printed answer minus the lowest."""
        return self.figures[-1].value - self.figures[0].value

    @property
    def sources(self) -> int:
        """The number of sources with an answer."""
        return len({figure.source for figure in self.figures})


def make_claims(entries: Iterable[Entry], figures: Sequence[Figure] = ()) -> list[Claim]:
    """Every question with two or more sources, or one and a measurement of ours: first where both are, by spread."""
    found: dict[tuple[str, ...], list[Figure]] = {}
    for figure in figures or (*printed.load(), *field_numbers.load()):
        whole = figure.poison_ratio in (None, 1.0) or figure.dataset == ""
        if figure.metric == "accuracy" and not figure.direction and whole:
            found.setdefault(_key(figure), []).append(figure)
    ours: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        for key in dict.fromkeys(_key(match.figure) for match in entry.printed):
            if entry.valid and (entry.trial.get("poison_ratio") in (0.0, 1.0, None)):
                ours.setdefault(key, []).append(entry)
    claims = []
    for key, group in found.items():
        said = tuple(sorted(_distinct(group), key=lambda f: (f.value, f.origin)))
        claim = Claim(_method(said), ", ".join(_place(said[0])), said, _measured(ours.get(key, ())))
        if claim.sources > 1 or claim.ours:
            claims.append(claim)
    return sorted(claims, key=_order)


def _order(claim: Claim) -> tuple[bool, bool, bool, float, str, str]:
    """What several sources print before what one does, what we measured first, clean data last; widest spread first."""
    alone, unmeasured = claim.sources < 2, not claim.ours
    clean = _key(claim.figures[0])[0] == CLEAN
    return alone, unmeasured, clean, -claim.spread, claim.method, claim.place


def _key(figure: Figure) -> tuple[str, ...]:
    """Class-wise noise is another question; sources that do not say count as image-wise, the field's usual one."""
    method = CLEAN if same_name(figure.method) in NAMES_OF_CLEAN else same_name(figure.method)
    by_class = figure.granularity == "class" and method != CLEAN
    place = (figure.dataset, figure.victim, figure.defense or "none")
    return (method, "class" if by_class else "", *(same_name(part) for part in place))


def _distinct(figures: Iterable[Figure]) -> Iterable[Figure]:
    return {(figure.origin, figure.method, figure.value): figure for figure in figures}.values()


def _measured(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """One entry for each result: suites that repeat a measurement to the last digit repeat it once."""
    found: dict[object, Entry] = {}
    for entry in entries:
        found.setdefault((entry.name, entry.trial.get("victim"), entry.cell.summary), entry)
    return tuple(found.values())


def _method(figures: Sequence[Figure]) -> str:
    first = max(figures, key=lambda figure: figure.source.isupper())
    by_class = _key(first)[1] == "class"
    return f"{first.method} (class)" if by_class else first.method


def _place(figure: Figure) -> tuple[str, str, str]:
    defense = "no defense" if (figure.defense or "none") == "none" else figure.defense
    return figure.dataset, figure.victim, defense
