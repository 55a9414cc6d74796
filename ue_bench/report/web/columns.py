"""The columns of the page's table, declared once: heading, meaning, and what stands in a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ue_bench.dimensions import NOTHING, full_name, value_in_words
from ue_bench.measures import number
from ue_bench.progress import duration
from ue_bench.report import cost
from ue_bench.report.display import spread
from ue_bench.report.tables import row_costs
from ue_bench.report.verdicts import reference
from ue_bench.report.web.entries import Entry


@dataclass(frozen=True)
class Shown:
    """A cell: its text, the number that it is sorted by (None: none), and further numbers for CSV."""

    text: str = NOTHING
    value: float | None = None
    more: tuple[float | None, ...] = ()
    look: str = ""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: its name in links and CSV.
        heading: its words.
        meaning: what it is and which way is better, in a sentence.
        cell: what stands in an entry's cell.
        numeric: True if it is sorted by number.
        filtered: True if the page offers its values as a filter.
        hidden: True if it is hidden at first.
        extra: names of the further numbers in CSV.
    """

    key: str
    heading: str
    meaning: str
    cell: Callable[[Entry], Shown]
    numeric: bool = False
    filtered: bool = False
    hidden: bool = False
    extra: tuple[str, ...] = field(default=())


def _text(value: object) -> Shown:
    return Shown(str(value) if value not in ("", None) else NOTHING)


def _ratio(entry: Entry) -> Shown:
    ratio = number(entry.trial.get("poison_ratio"))
    if entry.cell.control == "clean" or ratio is None:
        return Shown()
    return Shown(value_in_words("poison_ratio", ratio), 100 * ratio)


def _granularity(entry: Entry) -> Shown:
    return Shown() if entry.cell.control in ("clean", "share") else _text(entry.trial.get("granularity"))


def _budget(entry: Entry) -> Shown:
    return Shown() if entry.cell.control in ("clean", "share") else _text(entry.trial.get("budget"))


def _result(entry: Entry) -> Shown:
    found = entry.cell.summary
    if found is None:
        return Shown(entry.cell.state, look="state")
    text = spread(found.mean, found.std, entry.view)
    return Shown(text, found.mean, (found.std,), "lead" if entry.cell.leads else "")


def _best(entry: Entry) -> Shown:
    found = entry.cell.best
    return Shown(spread(found.mean, found.std, entry.view), found.mean, (found.std,)) if found else Shown()


def _seeds(entry: Entry) -> Shown:
    planned, n = len(entry.cell.findings), entry.cell.summary.n if entry.cell.summary else 0
    return Shown(str(n) if n == planned else f"{n} of {planned}", n)


def _difference(entry: Entry) -> Shown:
    found = reference(entry.cell)
    if found is None:
        return Shown()
    decimals = max(entry.view.measure.decimals - 1, 0)
    text = f"{found.mean:+.{decimals}f}"
    if found.interval:
        text += " [" + ", ".join(f"{end:.{decimals}f}" for end in found.interval) + "]"
    return Shown(text, found.mean, found.interval or (None, None))


def _printed(entry: Entry) -> Shown:
    values = sorted(match.figure.value for match in entry.printed)
    if not values:
        return Shown()
    text = entry.view.measure.text
    sources = len({match.figure.source for match in entry.printed})
    span = text(values[0]) if values[0] == values[-1] else f"{text(values[0])} to {text(values[-1])}"
    return Shown(f"{span} ({sources})", values[0], (values[-1], sources))


def off_printed(entry: Entry) -> float | None:
    """How far the result lies outside what is printed: 0 within, positive above, negative below; None without any."""
    values = [match.figure.value for match in entry.printed]
    if not values or entry.cell.summary is None:
        return None
    mean = entry.cell.summary.mean
    return max(mean - max(values), 0.0) + min(mean - min(values), 0.0)


def _off(entry: Entry) -> Shown:
    off = off_printed(entry)
    if off is None:
        return Shown()
    return Shown(f"{off:+.1f}", off, look="off") if off else Shown("within", 0.0)


def _hours(phase: str) -> Callable[[Entry], Shown]:
    def cell(entry: Entry) -> Shown:
        seconds = cost.mean_seconds(entry.cell.records, phase, "device_seconds")
        if seconds is None or (phase != "train" and entry.cell.control in ("clean", "share")):
            return Shown()
        return Shown(duration(seconds, 1) if seconds else NOTHING, seconds / 3600)

    return cell


def _device(entry: Entry) -> Shown:
    kinds = {cost.unit(record.get("device")) for record in entry.cell.records}
    words = {"core_seconds": "CPU core", "accelerator_seconds": "GPU"}
    return _text(", ".join(sorted(words[kind] for kind in kinds)))


def _psnr(entry: Entry) -> Shown:
    value = row_costs([entry.cell])["psnr_db"]
    return Shown() if value is None else Shown(f"{value:.1f}", value)


def _state(entry: Entry) -> Shown:
    if entry.cell.summary is None:
        return _text(entry.cell.state)
    return Shown(", ".join(entry.cell.marks) or "valid")


HOURS = "core-hours on a CPU, GPU-hours on an accelerator"
COLUMNS = (
    Column(
        "method",
        "method",
        "The method that makes the noise; ° ran with less than its paper's settings. Open a row by its name.",
        lambda e: Shown(str(e.trial.get("method", ""))),
        filtered=True,
    ),
    Column("granularity", "granularity", "Whether there is one noise per image, class, pair or cluster.", _granularity,
           filtered=True),
    Column("budget", "budget", "Norm and radius of the noise, linf in steps of 1/255.", _budget, filtered=True),
    Column("dataset", "data set", "What the victim trains on.",
           lambda e: _text(e.trial.get("dataset_label") or e.trial.get("dataset")), filtered=True),
    Column("size", "training size", "How many images, or pairs of image and caption, the training set holds.",
           lambda e: Shown(e.size or NOTHING, e.examples), True),
    Column("victim", "victim", "The model that is trained on the protected images.",
           lambda e: _text(full_name(e.trial, "victim")), filtered=True),
    Column("defense", "defense", "What the trainer does against the noise.",
           lambda e: _text(full_name(e.trial, "defense")), filtered=True),
    Column("ratio", "ratio", "The share of the training images that are protected.", _ratio, True, True),
    Column("metric", "metric", "What is measured on clean test data.",
           lambda e: _text(e.view.measure.short), filtered=True),
    Column("result", "result", "Mean ± sample standard deviation over seeds after the last epoch, % or a median "
           "rank. Lower protects better (a rank: higher). Bold: the best protection in its place.",
           _result, True, extra=("sd",)),
    Column("best", "best epoch", "The same at each run's best epoch, picked on test data: the most that a hacker "
           "gains by stopping early.", _best, True, hidden=True, extra=("sd",)),
    Column("n", "n", "Number of seeds that count, of those planned.", _seeds, True),
    Column("difference", "vs control", "Difference to random noise of the same budget, paired by seed, with its 95 % "
           "interval; below ratio 1 to the clean share alone. Negative protects (of a rank: positive).",
           _difference, True, extra=("low", "high")),
    Column("printed", "printed", "What papers print for the same method, data, victim and defense at full size, lowest "
           "to highest (number of sources). Not measured here.", _printed, True,
           extra=("highest", "sources")),
    Column("off", "off printed", "How far the result lies above (+) or below (−) everything that is printed.", _off,
           True),
    Column("prepare", "prepare", f"Work done once for any number of data sets: {HOURS}.", _hours("prepare"), True),
    Column("protect", "protect", f"Making the noise of this data set: {HOURS}.", _hours("protect"), True),
    Column("train", "train", f"Training the victim once: {HOURS}.", _hours("train"), True),
    Column("device", "device", "Whether the hours are core-hours or GPU-hours.", _device, filtered=True, hidden=True),
    Column("psnr", "PSNR dB", "How little the noise shows: higher is less visible.", _psnr, True),
    Column("suite", "suite", "The suites that have this cell.", lambda e: _text(", ".join(e.suites)), filtered=True,
           hidden=True),
    Column("state", "state", "valid, invalid (its control fails), unchecked, or why there is no number.", _state,
           filtered=True, hidden=True),
)  # fmt: skip


def complete(entry: Entry) -> bool:
    """True if every planned seed is finished and may be read."""
    return entry.valid and entry.cell.summary is not None and entry.cell.summary.n == len(entry.cell.findings)
