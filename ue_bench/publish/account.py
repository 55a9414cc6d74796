"""The outcome for every file, as a table on the terminal and as a CSV file beside the pictures."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ue_bench.errors import ConfigError, StoreError
from ue_bench.publish.apply import STATUSES, FileResult
from ue_bench.publish.writing import explain, write_whole
from ue_bench.text import no_formula

REPORT = "report.csv"
COLUMNS = (
    "picture",
    "status",
    "written as",
    "mode",
    "PSNR dB",
    "max change /255",
    "why, or what else changed",
)
SHOWN = 50  # the most pictures without a problem that the terminal shows; all others are shown
WHAT_IT_IS = """\
What this protection is: noise that is meant to make models which are trained on these pictures in future learn the
noise instead of what the pictures show. What it is not: it does nothing against models that exist already, nor against
people who look at the pictures. Recompression (JPEG, messengers, social networks), resizing, blurring and other filters
weaken it, some ways of training overcome it, and copies that are public without it stay unprotected. There is no
guarantee. More: docs/protecting_pictures.md"""


def build_table(outcomes: Sequence[FileResult]) -> str:
    """All files that are not in order, and the first SHOWN that are, aligned for a terminal."""
    troubled = [each for each in outcomes if not _in_order(each)]
    fine = [each for each in outcomes if _in_order(each)]
    rows = [_cells(each) for each in (*fine[:SHOWN], *troubled)]
    table = tabulate(rows, COLUMNS, tablefmt="plain", disable_numparse=True, stralign="left")
    more = f"\n... and {len(fine) - SHOWN} more that are in order, see {REPORT}" if len(fine) > SHOWN else ""
    return table + more


def summarise(outcomes: Sequence[FileResult]) -> str:
    """One line of counts."""
    counts = Counter(each.status for each in outcomes)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status] or status == "written"]
    bare = sum(each.open for each in outcomes)
    parts += [f"{bare} without a caption and unprotected"] if bare else []
    return ", ".join(parts)


def check_report(out: Path) -> None:
    """Raises ConfigError if a file has the report's name but is not such a report."""
    path = out / REPORT
    if not os.path.lexists(path):
        return
    try:
        with open(path, newline="", encoding="utf-8") as file:
            first = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        first = []
    if first != list(COLUMNS):
        raise ConfigError(
            f"{path} already exists and is not a report of ue-bench apply, which would replace it: rename it, "
            "name another folder as out, or say overwrite=true"
        )


def write_report(out: Path, outcomes: Sequence[FileResult]) -> Path:
    """Writes every outcome to ``out/report.csv``, replacing an earlier report; no cell is a spreadsheet's formula.

    Raises:
        StoreError: if it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([no_formula(cell) for cell in _cells(each)] for each in outcomes)
    path = out / REPORT
    try:
        out.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {explain(error)}") from error
    return path


def _in_order(outcome: FileResult) -> bool:
    return outcome.status == "written" or (outcome.status == "skipped" and outcome.change is not None)


def _cells(outcome: FileResult) -> list[str]:
    change = outcome.change
    psnr = "" if change is None or math.isinf(change.psnr_db) else f"{change.psnr_db:.2f}"
    largest = "" if change is None else f"{change.largest:g}"
    words = (outcome.name, outcome.status, outcome.output, outcome.kind, psnr, largest, outcome.reason)
    return [_printable(word) for word in words]


def _printable(word: str) -> str:
    """A file's name with every character spelled out that a terminal should not receive."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in word
    )
