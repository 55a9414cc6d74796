"""Runs a suite from Python, and holds its result."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ue_bench.api.frame import make_frame
from ue_bench.api.planned import PlannedRun
from ue_bench.api.randomness import caller_randomness
from ue_bench.api.settings import as_words
from ue_bench.canonical import plain
from ue_bench.progress import Progress, choose_progress
from ue_bench.report import Report, View, build_report, render
from ue_bench.threads import threads_restored

if TYPE_CHECKING:
    import pandas


class Table(str):
    """A table as Markdown text; a notebook shows it as a table."""

    def _repr_markdown_(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Result:
    """What a run found. In a notebook it shows its table.

    Attributes:
        plan: the plan of the run, as the store keeps it.
        records: records of the finished trials by id, as the store keeps them.
        failures: (trial, message) of the trials that failed.
    """

    plan: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]
    failures: tuple[tuple[str, str], ...] = ()

    @functools.cached_property
    def report(self) -> Report:
        """The suite's table, before it is formatted."""
        return build_report(self.plan, self.records)

    def table(self, format: str = "markdown", published: bool = False, wide: bool = False) -> str:
        """The suite's table, as ``ue-bench report`` prints it.

        Args:
            format: markdown, which a notebook shows as a table, or csv, json, latex.
            published: True to put the papers' numbers beside ours.
            wide: True for every column in one table.
        """
        report = build_report(self.plan, self.records, published=True) if published else self.report
        text = render(report, format, View(wide=wide))
        return Table(text) if format == "markdown" else text

    def frame(self) -> pandas.DataFrame:
        """The trials as rows of a pandas DataFrame, see ``ue_bench.load``."""
        return make_frame(self.records.values())

    def _repr_markdown_(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"Result({self.plan['suite']}: {len(self.records)} of {len(self.plan['trials'])} trials{failed})"
        )


def run(suite: str, *, progress: bool = False, **settings: Any) -> Result:
    """Runs a suite as ``ue-bench run`` does, and keeps every result in the store; a second run does what is missing.

    Example: ``ue_bench.run("supervised_transfer", method=["em", "synper"], seeds=3, em={"max_rounds": 20}).table()``.

    The caller's random state stays as it is.

    Args:
        suite: its name; ``ue-bench list suites`` lists all.
        progress: True to show progress.
        settings: every key of the command line, such as ``method``, ``dataset``, ``victim``, ``seeds``, ``profile``,
            ``device``, ``store`` and ``recipe``; parameters of content as a mapping under its name.

    Raises:
        UEBenchError: for a mistake, before any work. Trials that fail are named in a warning; the others are kept.
    """
    with caller_randomness(), threads_restored():
        planned = PlannedRun.of(as_words({"suite": suite, **settings}))
        summary = planned.work(choose_progress() if progress else Progress())
    if summary.failures:
        told = "; ".join(f"{trial}: {message}" for trial, message in summary.failures[:5])
        more = f"; and {len(summary.failures) - 5} more" if len(summary.failures) > 5 else ""
        warnings.warn(f"{len(summary.failures)} trials failed: {told}{more}", stacklevel=2)
    return Result(planned.plan.header, plain(summary.records), tuple(summary.failures))
