"""Writes the page claims.md: what papers claim, what was tried here, and whether it held: ``python results/pages.py``.

A claim is a printed number for a method under a defense. It held if ours is on the claimed side of that number, or off
by no more than one source's repeated runs differ, at a size that counts: all of CIFAR-10's images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ue_bench.report import field_numbers
from ue_bench.report.printed import Figure
from ue_bench.report.sheets import Legend
from ue_bench.report.web.entries import Entry
from ue_bench_results.who_says_what import chance, largest, mean, size, table

WHOLE = 50_000  # training images of a size that counts
HELD, FELL, UNKNOWN = "held", "did not hold at this size", "unknown"


@dataclass(frozen=True)
class Claim:
    """What is claimed by whom.

    Attributes:
        title: of the claim.
        said: who claims it, in words; ``{0:.2f}`` and so on are the ``figures``.
        figures: (source, printed method, printed defense) of every number in ``said``, the claimed one first.
        words: of ``ue-bench run`` at laptop size, as in a shell; "" where the method is missing.
        method, granularity, defense: of the row that tries it.
        settings: parameters that the defense must have.
        target: the claimed number where field.csv has none, in percent.
        protects: True if the claim is an accuracy of at most that number, False for at least.
    """

    title: str
    said: str
    figures: tuple[tuple[str, str, str], ...]
    words: str
    method: str
    granularity: str
    defense: str = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)
    target: float | None = None
    protects: bool = False


REVIEWER, BOARD = "UEraser (a reviewer's reproduction)", "APBench leaderboard"
_MAX = {"variant": "max", "repeats": 5}
CLAIMS = (
    Claim(
        "UEraser max undoes EM",
        "{0:.2f} APBench; {1:.2f} a reviewer, official code",
        ((BOARD, "EM", "ueraser_max"), (REVIEWER, "EM", "ueraser_max")),
        "suite=defenses_full profile=laptop method=[em] em.granularity=image defense=[none,ueraser]",
        "em", "image", "ueraser", _MAX,
    ),
    Claim(
        "UEraser max undoes LSP",
        "{0:.2f} APBench; {1:.2f} a reviewer, official code",
        ((BOARD, "LSP", "ueraser_max"), (REVIEWER, "LSP", "ueraser_max")),
        "suite=defenses_full profile=laptop method=[synper] defense=[none,ueraser]",
        "synper", "image", "ueraser", _MAX,
    ),
    Claim(
        "OP undoes OPS without CutMix",
        "above 87 OP's readme, with CutMix; undefended {0:.2f} OPS",
        (("OPS", "OPS", "none"),),
        "suite=defenses_full profile=laptop method=[ops]"
        " 'defense=[none,orthogonal_projection,{orthogonal_projection: {augmented: true}}]'",
        "ops", "class", "orthogonal_projection", {"augmented": False}, 87.0,
    ),
    Claim(
        "NTGA in ten steps protects as in one",
        "{0:.2f} readme, {1:.2f} BridgePure, {2:.2f} ISS, all one step",
        (("NTGA", "NTGA(fnn,best)", "none"), ("BridgePure", "NTGA", "none"), ("ISS", "NTGA", "none")),
        "suite=supervised profile=laptop 'method=[ntga,{ntga: {official_one_step: true}}]'",
        "ntga", "image", protects=True,
    ),
    Claim(
        "HYPO hardly protects (a control)",
        "{0:.2f} APBench; {1:.2f} ISS",
        ((BOARD, "HYPO", "none"), ("ISS", "HYPO", "none")),
        "suite=supervised profile=laptop method=[hypo]",
        "hypo", "image",
    ),
)  # fmt: skip
PAGE = """# Claims tried

{count} claims about methods and defenses of other papers, as printed for CIFAR-10 and a ResNet-18, and what was run
here to try them.
{known} of them have been tried on all {whole:,} images of CIFAR-10, the least that counts here.
A claim holds if our accuracy is on its side of the first number, or off by at most {chance:.1f} points, which is how
far [one source's repeated runs](who_says_what.md) lie apart.
Runs on fewer images stand in the table for orientation, and the claim stays unknown.
The commands below try each: `profile=laptop` takes 5,000 images, `profile=paper device=cuda` in its place is large
enough.

{table}

<details>
<summary>The commands</summary>

{commands}

The number for OP is a bound in the readme of its program; all others stand in `field.csv` ([sources](published.md)).
NTGA's program takes one step in effect: each of its ten starts from the clean images and goes the whole budget.
`python results/pages.py` makes this page.

</details>
"""


def page(entries: Sequence[Entry], figures: Iterable[Figure] = ()) -> str:
    """The page.

    Args:
        entries: every measurement of ours.
        figures: every printed number of the field; those of the package unless given.
    """
    figures = tuple(figures or field_numbers.load())
    near = chance(figures)
    rows, known, legend = [], 0, Legend()
    for claim in CLAIMS:
        numbers = [_printed(place, figures) for place in claim.figures]
        tried = largest([entry for entry in entries if _tries(entry, claim)])
        target = numbers[0] if claim.target is None else claim.target
        found = verdict(tried, target, near, claim.protects)
        known += found != UNKNOWN
        ours = f"{mean(tried)} {legend.key(size(tried))}" if tried else "not run"
        rows.append([claim.title, claim.said.format(*numbers), ours, found])
    return PAGE.format(
        count=len(CLAIMS),
        known=known or "None",
        whole=WHOLE,
        chance=near,
        table="\n".join([table(["claim", "printed, %", "here", "verdict"], rows), "", *legend.lines]).strip(),
        commands="\n".join(f"    ue-bench run {claim.words}" for claim in CLAIMS),
    )


def verdict(tried: Entry | None, target: float, near: float, protects: bool) -> str:
    """HELD, FELL or UNKNOWN.

    Args:
        tried: our largest measurement, or None.
        target: the claimed accuracy in percent.
        near: how far off it may be, in points.
        protects: True if the claim is at most ``target``, False for at least.
    """
    if tried is None or tried.cell.summary is None or not tried.valid or (tried.examples or 0) < WHOLE:
        return UNKNOWN
    off = tried.cell.summary.mean - target
    return HELD if (off if protects else -off) <= near else FELL


def _printed(place: tuple[str, str, str], figures: Iterable[Figure]) -> float:
    found = [
        f.value
        for f in figures
        if (f.source, f.method, f.defense) == place
        and (f.dataset, f.victim, f.metric) == ("cifar10", "resnet18", "accuracy")
    ]
    return found[0]


def _tries(entry: Entry, claim: Claim) -> bool:
    trial, settings = entry.trial, entry.cell.settings
    return (
        (trial.get("method"), trial.get("granularity"), trial.get("defense"))
        == (claim.method, claim.granularity, claim.defense)
        and trial.get("dataset") in ("cifar10", "cifar10_5k")
        and trial.get("poison_ratio") == 1.0
        and not entry.variant
        and entry.view.measure.name == "accuracy_last"
        and all(settings.get(key) == value for key, value in claim.settings.items())
    )
