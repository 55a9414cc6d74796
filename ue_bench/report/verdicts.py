"""Which methods protect, and whether the controls hold, in one sentence. The rule: docs/protocol.md, 18."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ue_bench.measures import WAYS, Measure
from ue_bench.report.cells import Cell
from ue_bench.report.statistics import Difference, paired
from ue_bench.report.tables import Report, Row
from ue_bench.report.validity import INVALID, UNCHECKED

# Shares of the control's value that a victim must lose: with one seed, which has no interval; with several.
QUARTER, TENTH = 0.25, 0.1
MOST = 3  # the most places that are named
PROTECTS, NOT, UNKNOWN = "protects", "does not", "unknown"


def reference(cell: Cell) -> Difference | None:
    """The difference that counts: to the clean share alone at ratios below 1 if there is one, or to random noise."""
    ratio = cell.trial.get("poison_ratio")
    kinds = ["share", "random"] if isinstance(ratio, (int, float)) and 0 < ratio < 1 else ["random"]
    for kind in kinds:
        if kind in cell.differences:
            return cell.differences[kind][1]
    return None


def short_control(report: Report) -> str:
    """The name of the control in headings of differences: ``control`` or ``random``."""
    return "control" if any(f.trial.get("control") == "share" for f in report.findings) else "random"


def protects(cell: Cell, measure: Measure) -> str:
    """PROTECTS, NOT, or UNKNOWN if the cell or its control has no number that counts.

    With several seeds the whole interval of the difference must lie on the side that protects, and the victim must
    lose a tenth of what it reaches on the control; with one seed, a quarter.
    """
    found = reference(cell)
    if found is None or INVALID in cell.marks or cell.summary is None:
        return UNKNOWN
    return PROTECTS if _takes(cell.summary.mean, found, measure) else NOT


def better(one: Cell, other: Cell, measure: Measure) -> bool:
    """True if ``one`` protects clearly better: by the rule of ``protects``, in shares of what clean data give.

    Shares of what the other reaches would make much of a point or two where both are near guessing.
    """
    found = paired(one.values(), other.values())
    if not found or not one.summary or not other.summary:
        return False
    clean = one.differences["clean"][0].summary if "clean" in one.differences else None
    whole = (clean or other.summary).mean if measure.lower_protects else one.summary.mean
    return _enough(found, whole, measure)


def _takes(value: float, found: Difference, measure: Measure) -> bool:
    """True if the victim loses enough against the control, by the rule of ``protects``."""
    return _enough(found, _whole(value, found, measure), measure)


def _whole(value: float, found: Difference, measure: Measure) -> float:
    """What a loss against the control is a share of: a rank grows with protection, so there it is the rank itself."""
    return value - found.mean if measure.lower_protects else value


def _enough(found: Difference, whole: float, measure: Measure) -> bool:
    """True if a difference lies on the side that protects and is a large enough share of ``whole``."""
    lost = abs(found.mean) / whole if whole else 0.0
    sign = 1 if measure.lower_protects else -1
    if found.interval:
        return max(sign * end for end in found.interval) < 0 and lost >= TENTH
    return sign * found.mean < 0 and lost >= QUARTER


def sentence(
    report: Report, views: Sequence[Report], name: Callable[[Row], str], place: Callable[..., str]
) -> str:
    """The table in words.

    Args:
        views: the reports on the metrics to describe, one for each way of retrieval.
        name: gives a row's method in words.
        place: gives (row, column) in words, or "" where there is only one.
    """
    if any(view.measure.cost for view in views) or not report.rows:
        return ""
    clauses = []
    for view in views:
        text = _methods(view, name, place)
        if text:
            way = WAYS.get(view.measure.way, "")
            clauses.append(f"{way}: {text}" if way and len(views) > 1 else text)
    return "; ".join([*clauses, _controls(report)]) + "."


def _methods(view: Report, name: Callable[[Row], str], place: Callable[..., str]) -> str:
    found: dict[str, dict[str, list[str]]] = {}
    for row in view.rows:
        for column, cell in row.cells.items():
            if cell.control is None:
                verdict = protects(cell, view.measure)
                found.setdefault(name(row), {}).setdefault(verdict, []).append(place(row, column))
    everywhere = [arm for arm, places in found.items() if PROTECTS in places and NOT not in places]
    nowhere = [arm for arm, places in found.items() if NOT in places and PROTECTS not in places]
    unknown = [arm for arm, places in found.items() if set(places) == {UNKNOWN}]
    several = any(len(places.get(PROTECTS, [])) + len(places.get(NOT, [])) > 1 for places in found.values())
    parts = []
    if everywhere:
        verb = "protects" if len(everywhere) == 1 else "protect"
        parts.append(f"{_listed(everywhere)} {verb}{' everywhere' if several else ''}")
    partly: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for arm, places in found.items():
        if PROTECTS in places and NOT in places:
            here = tuple(places[PROTECTS])
            partly.setdefault((here, len(here) + len(places[NOT])), []).append(arm)
    for (here, total), arms in partly.items():
        where = f" ({_listed(here)})" if len(here) <= MOST and all(here) else ""
        verb = "protects" if len(arms) == 1 else "protect"
        parts.append(f"{_listed(arms)} {verb} in {len(here)} of {total} places{where}")
    if nowhere:
        verb = "does" if len(nowhere) == 1 else "do"
        what = "" if parts else " protect"  # said before, if any other method protects
        parts.append(f"{_listed(nowhere)} {verb} not{what}{' anywhere' if several else ''}")
    if unknown:
        parts.append(f"{_listed(unknown)} cannot be judged")
    return ", ".join(parts)


def _controls(report: Report) -> str:
    marks = {mark for row in report.rows for cell in row.cells.values() for mark in cell.marks}
    noisy = [
        (cell.summary.mean, cell.differences["clean"][1], cell)
        for row in report.rows
        for cell in row.cells.values()
        if cell.control == "random" and cell.summary and "clean" in cell.differences
    ]
    harmful = any(_takes(value, found, report.measure) for value, found, _ in noisy)
    if INVALID in marks:
        return "the controls do not hold: a clean victim misses its floor, or a run does not fit its training data (†)"
    if harmful:
        return "the controls do not hold: random noise of the same budget already does much harm"
    floors: Mapping[str, object] = report.plan.get("floors") or {}
    if UNCHECKED in marks or not any(floors.get(key) for key in floors if key.startswith("clean_")):
        return "nothing shows yet that the controls hold"
    if not any(cell.summary for row in report.rows for cell in row.cells.values()):
        return "nothing is measured yet"
    if not any(cell.control == "random" for row in report.rows for cell in row.cells.values()):
        return "the clean victim reaches its floor, and there is no random noise of the same budget"
    return f"the controls hold: the clean victim reaches its floor, {_harm(noisy, report.measure)}"


def _harm(noisy: Sequence[tuple[float, Difference, Cell]], measure: Measure) -> str:
    """What random noise does where it does no great harm. With one seed, a tenth or more is told."""
    sign = 1 if measure.lower_protects else -1
    losses = [
        (-sign * found.mean / whole, found.mean, cell)
        for value, found, cell in noisy
        if not found.interval and (whole := _whole(value, found, measure))
    ]
    share, most, cell = max(losses, key=lambda loss: loss[0], default=(0.0, 0.0, None))
    if cell is None or share < TENTH:
        return "random noise of the same budget does no harm"
    return f"random noise of the same budget takes at most {abs(most):.1f} ({cell.trial.get('budget', '')})"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
