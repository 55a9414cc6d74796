"""A planned run that is not done yet: the command line and Python both start from it."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ue_bench.configure import configure
from ue_bench.forecast.calibration import SHORT_SECONDS, calibrate
from ue_bench.forecast.evidence import gather
from ue_bench.forecast.prediction import in_words, note_forecast, predict
from ue_bench.forecast.spread import look_around
from ue_bench.progress import Progress
from ue_bench.provenance import describe_device
from ue_bench.threads import set_threads
from ue_bench.trials.environment import Environment
from ue_bench.trials.executors import Task, find_executor
from ue_bench.trials.plan import Plan, make_plan
from ue_bench.trials.run import Summary, pending
from ue_bench.trials.run import run as run_plan
from ue_bench.trials.trial import Trial


@dataclass(frozen=True)
class PlannedRun:
    """A run's plan, and where it is done.

    Attributes:
        plan: the trials.
        environment: store, device and plug-ins.
        started: when the run was requested, by ``time.monotonic``; ``stop_after`` counts from there.
    """

    plan: Plan
    environment: Environment
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, words: Sequence[str], verb: str = "run", download: bool = True) -> PlannedRun:
        """Plans the run that ``ue-bench VERB suite=NAME key=value ...`` asks for, without doing it.

        Args:
            words: as a person types them.
            verb: the name of the command; the plan keeps it with the words.
            download: whether a dataset that is not on this machine may be fetched.

        Raises:
            UEBenchError: for every mistake that can be found before any work.
        """
        started = time.monotonic()
        config, registry = configure(words)
        find_executor(config.executor)
        environment = Environment(
            config.store,
            config.device,
            tuple(config.plugins),
            config.threads,
            checkpoint_minutes=config.checkpoint_minutes,
        )
        environment.find_device()
        set_threads(environment.threads)
        command = shlex.join(["ue-bench", verb, *words])
        return cls(make_plan(config, registry, command, download=download), environment, started)

    @property
    def command(self) -> str:
        """The command that does the same in a shell."""
        return str(self.plan.header["command"])

    def pending(self) -> tuple[dict[str, dict[str, Any]], list[Trial]]:
        """(records of trials that are done, trials still to do), as the store has them now."""
        store = self.environment.open_store()
        return pending(self.plan, store.read_records((trial.id for trial in self.plan.trials), later=True))

    @functools.cached_property
    def records(self) -> dict[str, dict[str, Any]]:
        """All records of the store by trial, read once, so they may be some minutes old; nobody may change them."""
        store = self.environment.open_store()
        return store.read_records(store.names("trials", ".json"), later=True)

    @property
    def missing(self) -> list[Trial]:
        """The trials that are not done, going by ``records``."""
        return pending(self.plan, self.records)[1]

    def foretell(self, progress: Progress, measure: bool = False, short: bool = False) -> list[Any]:
        """The pieces of work to do, each with its predicted cost, from the store's records.

        Args:
            progress: shows the measurements.
            measure: True to measure costs that are in no record, on slices of the data.
            short: True to measure for two minutes at most.
        """
        todo = self.missing
        evidence = gather(todo, self.records, self.environment)
        if measure:
            limits = {"cap": SHORT_SECONDS / 4, "total": SHORT_SECONDS} if short else {}
            evidence = calibrate(todo, evidence, self.environment, progress, **limits)
        return predict(todo, evidence)

    def takes(self, pieces: list[Any]) -> str:
        """How long the pieces of ``foretell`` take here and now, as a range in words; "" if that is unknown."""
        if not pieces:
            return ""
        store, device = self.environment.open_store(), describe_device(self.environment.find_device())
        threads = device["threads"] if device["type"] == "cpu" else 0
        return in_words(pieces, look_around(store.read_plans(), self.records, threads))

    def work(self, progress: Progress, measure: bool = False) -> Summary:
        """Does the missing work and keeps every result as soon as it exists; nobody may change the records.

        Raises:
            StoreError: if results cannot be kept.
            KeyboardInterrupt: after Ctrl-C; finished trials are kept.
        """
        pieces = self.foretell(progress, measure)
        plans = self.environment.open_store().read_plans(self.plan.config.suite)
        takes = self.takes(pieces)
        note_forecast(self.plan.header, pieces, plans)
        may_start = self._time_left(pieces)
        return run_plan(self.plan, self.environment, progress, takes, may_start, self.records)

    def _time_left(self, pieces: list[Any]) -> Callable[[Task, float], bool] | None:
        """Whether a task would end before ``stop_after``, by its prediction or by the longest task of its kind."""
        seconds = self.plan.config.seconds()
        if seconds is None:
            return None
        takes: dict[str, float] = {}
        for piece in pieces:
            name = f"noise-{piece.noise}" if piece.noise else f"trial-{piece.id}"
            takes[name] = takes.get(name, 0.0) + (piece.seconds or 0.0)
        end = self.started + seconds
        return lambda task, longest: time.monotonic() + (takes.get(task.name) or longest) <= end
