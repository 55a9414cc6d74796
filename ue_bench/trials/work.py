"""Does one task wherever it is sent: claims it, checks whether it is done already, works, keeps the result."""

from __future__ import annotations

import datetime
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ue_bench.canonical import writable
from ue_bench.clock import device_share
from ue_bench.errors import StoreError, UEBenchError
from ue_bench.progress import Progress
from ue_bench.provenance import commit, versions
from ue_bench.threads import set_threads
from ue_bench.trials.claims import Busy, Claims
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import evaluate
from ue_bench.trials.executors import Outcome, Task
from ue_bench.trials.protect import protect
from ue_bench.trials.store import Store

LONGEST_MESSAGE = 2000  # characters that are kept
LONGEST_TRACEBACK = 20000  # characters that are kept, the last ones


@dataclass(frozen=True)
class Work:
    """Performs tasks of a run; survives pickle.

    Attributes:
        environment: store, device, plug-ins, threads.
        suite, profile: of the run, for records.
    """

    environment: Environment
    suite: str
    profile: str

    def __call__(self, task: Task, progress: Progress) -> Outcome:
        """Does one task; a failure of content becomes an outcome, a failure of the store ends the run.

        The outcome is ``busy`` if somebody else works on it, or on something that it needs.
        """
        set_threads(self.environment.threads)
        claims, store = self.environment.claims(), self.environment.open_store()
        claims.task = task.name
        try:
            with claims.held(task.name):
                if done := self.find_done(task, store):
                    return done
                if task.kind == "protect":
                    return self._protect(task, progress)
                return self._evaluate(task, progress, store, claims)
        except Busy as busy:
            return Outcome("busy", error={"kind": "Busy", "message": busy.claim.who()})

    def find_done(self, task: Task, store: Store) -> Outcome | None:
        """The outcome that another run gave the task since this run was planned, or None."""
        record = store.read_record(task.trial.id)
        if record is None or (record["status"] == "failed" and record.get("created") == task.failed):
            return None
        if record["status"] == "failed":
            if task.kind == "protect" and store.has("noise", f"{task.trial.noise_key}.safetensors"):
                return None  # its noise was made, and then its victim failed
            return Outcome("failed", error=record["error"], elsewhere=True)
        return Outcome("done", elsewhere=True) if task.kind == "evaluate" else None

    def keep_failure(self, task: Task, outcome: Outcome) -> None:
        """Writes the record of a trial that failed without a process that could write it."""
        store = self.environment.open_store()
        if not self.find_done(task, store):
            store.write_record(self.record(task, outcome))

    def record(self, task: Task, outcome: Outcome) -> dict[str, Any]:
        """The trial's record, as the store keeps it and reports read it."""
        nothing: dict[str, Any] = {
            "metrics": {},
            "curves": {},
            "noise": None,
            "seconds": {},
            "device_seconds": {},
            "peak_bytes": 0,
            "device": None,
            "notes": {},
            "warnings": [],
            "sources": {},
        }
        return {
            **nothing,
            **(outcome.found or {}),
            **task.labels,
            "id": task.trial.id,
            "suite": self.suite,
            "profile": self.profile,
            "status": (outcome.found or {}).get("status", "done") if outcome.status == "done" else "failed",
            "attempts": task.attempts,
            "config": task.trial.config(),
            "versions": versions(),
            "commit": commit(),
            "error": outcome.error,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def _protect(self, task: Task, progress: Progress) -> Outcome:
        try:
            protect(task.trial, self.environment, progress, task.attempts)
            outcome = Outcome("done")
        except BaseException as error:
            if crowded := _crowded(error):
                return crowded
            outcome = _failure(error)
        self.environment.remove_checkpoints(task.name)
        return outcome

    def _evaluate(self, task: Task, progress: Progress, store: Store, claims: Claims) -> Outcome:
        try:
            outcome = Outcome("done", found=evaluate(task.trial, self.environment, progress))
        except BaseException as error:
            if crowded := _crowded(error):
                return crowded
            outcome = _failure(error)
        if not claims.holds(
            task.name
        ):  # another run considered the claim dead and took it; its result counts
            return Outcome("busy", error={"kind": "Busy", "message": "another run, which has taken it over"})
        store.write_record(self.record(task, outcome))
        self.environment.remove_checkpoints(task.name)
        return Outcome(outcome.status, error=outcome.error)


def _crowded(error: BaseException) -> Outcome | None:
    """The outcome of a task for which a shared device had no memory left; None for any other error."""
    if device_share() < 1 and isinstance(error, torch.OutOfMemoryError):
        return Outcome("crowded", error=tell_failure(error))
    return None


def _failure(error: BaseException) -> Outcome:
    """The outcome of a task that content ended with anything, SystemExit among it; raises what is not content's."""
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, (Busy, StoreError)) and _is_ours(error)):
        raise error
    return Outcome("failed", error=tell_failure(error))


def _is_ours(error: BaseException) -> bool:
    """Whether the harness raised it: content may raise a StoreError of its own."""
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(place).is_relative_to(Path(__file__).parents[1])


def tell_failure(error: BaseException) -> dict[str, str]:
    """``kind``, ``message`` and ``traceback`` of what content raised, as a record can hold them: of bounded length, in
    characters that every file takes."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception as fault:
        text = f"its text cannot be read ({type(fault).__name__})"
    message = text if isinstance(error, UEBenchError) and text else f"{kind}: {text}" if text else kind
    return {
        "kind": kind,
        "message": writable(message[:LONGEST_MESSAGE]),
        "traceback": writable("".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]),
    }
