"""Writes the page who_says_what.md from field.csv, published.csv and the records: ``python results/pages.py``."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from ue_bench.report import field_numbers, printed
from ue_bench.report.display import Text
from ue_bench.report.markdown import pipe_table
from ue_bench.report.printed import Figure
from ue_bench.report.sheets import Column, Legend, Sheet
from ue_bench.report.web.claims import Claim
from ue_bench.report.web.entries import Entry

IDENTITY = "identity"  # in the name of a defense: it changes nothing, so it repeats the run without a defense
PLACE = "cifar10, resnet18, no defense"
PAGE = """# Who says what

{count} questions about protected images (one method, data set, victim and defense) are answered by two or more sources,
whose answers lie {median:.1f} points apart at the median and {most:.1f} at most.
Without a defense, for a ResNet-18 on CIFAR-10, sources print {widest}.
A part of it is chance: {blurs} repeats {pairs} of its own runs under a blur that changes nothing, and
the two lie {mean:.1f} points apart in the mean and up to {largest:.1f}.
{beyond} of the {count} ranges are wider than that largest difference; in the others, sources agree as well as one does
with itself.
{ours}

{main}

{legend}

<details>
<summary>Every source, and the same under defenses and for other victims</summary>

`python results/pages.py` makes this page from `field.csv`, `published.csv` ([sources](published.md)) and the records
here. Nothing is averaged over papers. Sources that do not say so count as one noise an image.

{sources}

Repeats of the same run, in {blurs}:

{repeats}

Other data, victims and defenses with two or more sources:

{others}

{origins}

</details>
"""


def page(claims: Sequence[Claim], figures: Iterable[Figure] = ()) -> str:
    """The page.

    Args:
        claims: what several sources print, and ours beside it.
        figures: every printed number of the field; those of the package unless given.
    """
    asked = [claim for claim in claims if claim.sources > 1 and not _clean(claim)]
    here = sorted((c for c in claims if c.place == PLACE and not _clean(c)), key=_order)
    legend = Legend()
    several = [claim for claim in here if claim.sources > 1]
    main = [_row(claim, legend) for claim in several]
    origins = Legend()
    others = [_short_row(claim, origins) for claim in sorted(asked, key=_order) if claim.place != PLACE]
    repeated = repeats(figures or field_numbers.load())
    gaps = _gaps(repeated)
    spreads = [claim.spread for claim in asked]
    return PAGE.format(
        count=len(asked),
        median=statistics.median(spreads),
        most=max(spreads),
        widest=", ".join(f"{_span(c)} for {c.method}" for c in several[:3]),
        blurs=repeated[0][0].origin,
        pairs=len(gaps),
        mean=statistics.mean(gaps),
        largest=max(gaps),
        beyond=sum(spread > max(gaps) for spread in spreads),
        ours=_ours(several),
        main=table(["method", "sources", "lowest", "highest", "spread", "ours"], main),
        legend="\n".join(f"- {line}" for line in legend.lines),
        sources="\n".join(f"- {c.method}: {'; '.join(map(_spelled, c.figures))}" for c in here),
        repeats=table(
            ["method", "none", again_name(repeated), "apart"],
            [
                [a.method, f"{a.value:.2f}", f"{b.value:.2f}", f"{abs(a.value - b.value):.2f}"]
                for a, b in repeated
            ],
        ),
        others=table(["method", "where", "lowest", "highest", "spread"], others),
        origins="\n".join(f"- {line}" for line in origins.lines),
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column names its rows."""
    columns = [Column(head, tuple(Text(row[place]) for row in rows)) for place, head in enumerate(headings)]
    return pipe_table(Sheet("", tuple(columns[:1]), tuple(columns[1:])))


def repeats(figures: Iterable[Figure]) -> list[tuple[Figure, Figure]]:
    """(without a defense, under one that changes nothing) on CIFAR-10, for each method of a source that prints both."""
    figures = [f for f in figures if f.dataset == "cifar10" and f.metric == "accuracy"]
    plain = {(f.origin, f.method, f.victim): f for f in figures if f.defense == "none"}
    again = [f for f in figures if IDENTITY in f.defense]
    return [(plain[key], f) for f in again if (key := (f.origin, f.method, f.victim)) in plain]


def chance(figures: Iterable[Figure]) -> float:
    """The largest difference, in points, of a source to its own repeated run."""
    return max(_gaps(repeats(figures)))


def _gaps(repeated: Iterable[tuple[Figure, Figure]]) -> list[float]:
    return [abs(one.value - again.value) for one, again in repeated]


def again_name(repeated: Sequence[tuple[Figure, Figure]]) -> str:
    """What the source calls the defense that changes nothing."""
    return repeated[0][1].defense


def _order(claim: Claim) -> tuple[float, str, str]:
    return -claim.spread, claim.method, claim.place


def _clean(claim: Claim) -> bool:
    return printed.same_name(claim.method) in ("clean", "noprotection")


def _span(claim: Claim) -> str:
    return f"{claim.figures[0].value:.2f} to {claim.figures[-1].value:.2f}"


def _spelled(figure: Figure) -> str:
    spread = f" ± {figure.sd:.2f}" if figure.sd is not None else ""
    return f"{figure.origin} {figure.value:.2f}{spread}"


def _row(claim: Claim, legend: Legend) -> list[str]:
    low, high = claim.figures[0], claim.figures[-1]
    entry = largest(claim.ours)
    ours = f"{mean(entry)} {legend.key(f'ours: {size(entry)}')}" if entry else "–"
    ends = [f"{figure.value:.2f} {figure.origin}" for figure in (low, high)]
    return [claim.method, str(claim.sources), *ends, f"{claim.spread:.1f}", ours]


def _short_row(claim: Claim, origins: Legend) -> list[str]:
    ends = [f"{end.value:.2f} {origins.key(end.origin)}" for end in (claim.figures[0], claim.figures[-1])]
    return [claim.method, claim.place, *ends, f"{claim.spread:.1f}"]


def largest(entries: Sequence[Entry]) -> Entry | None:
    """Of our measurements the one on most images, then with most seeds."""
    return max(
        entries, key=lambda e: (e.examples or 0, e.cell.summary.n if e.cell.summary else 0), default=None
    )


def mean(entry: Entry) -> str:
    """Our accuracy in percent with its standard deviation over seeds."""
    summary = entry.cell.summary
    assert summary is not None
    return f"{summary.mean:.2f}" + (f" ± {summary.std:.2f}" if summary.std is not None else "")


def size(entry: Entry) -> str:
    """``5,085 images, NETWORK, 16 epochs, 3 seeds``."""
    recipe = next(((r.get("config") or {}).get("recipe") or {} for r in entry.cell.records), {})
    seeds = entry.cell.summary.n if entry.cell.summary else 0
    words = [
        entry.size,
        str(entry.trial.get("victim")),
        f"{recipe['epochs']} epochs" if "epochs" in recipe else "",
    ]
    return f"{', '.join(w for w in words if w)}, {seeds} {'seed' if seeds == 1 else 'seeds'}"


def _ours(claims: Sequence[Claim]) -> str:
    entries = [entry for claim in claims if (entry := largest(claim.ours))]
    if not entries:
        return "Nothing is measured here yet for these methods."
    most = max(entry.examples or 0 for entry in entries)
    return (
        f"Ours stand beside {len(entries)} of these {len(claims)} methods, on at most {most:,} images and with smaller "
        "networks: orientation, and no answer to any of these questions."
    )
