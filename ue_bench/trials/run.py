"""Runs the missing trials of a plan, and keeps every result as soon as it is there."""

from __future__ import annotations

import datetime
import functools
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ue_bench.canonical import writable
from ue_bench.dimensions import trial_in_words
from ue_bench.errors import StoreError, UEBenchError
from ue_bench.progress import Counted, Lines, Progress, duration
from ue_bench.provenance import commit, versions
from ue_bench.threads import set_threads
from ue_bench.trials.agreement import disagreements
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import evaluate
from ue_bench.trials.executors import Outcome, Task, find_executor
from ue_bench.trials.plan import Plan
from ue_bench.trials.protect import protect
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Trial

KEPT = (  # what a record keeps of its trial's entry in the plan
    "dataset",
    "dataset_label",
    "method",
    "granularity",
    "budget",
    "victim",
    "defense",
    "poison_ratio",
    "seed",
    "reduced",
)
LONGEST_MESSAGE = 2000  # characters
LONGEST_TRACEBACK = 20000  # characters, the last ones


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        records: of all trials of the plan, old and new, by id.
        failures: (trial, message) of this run.
    """

    records: dict[str, dict[str, Any]]
    failures: list[tuple[str, str]] = field(default_factory=list)


def pending(plan: Plan, store: Store) -> tuple[dict[str, dict[str, Any]], list[Trial]]:
    """(records of trials that are done, trials still to do); failed ones are tried again."""
    records = store.read_records(trial.id for trial in plan.trials)
    finished = {key: record for key, record in records.items() if record["status"] != "failed"}
    return finished, [trial for trial in plan.trials if trial.id not in finished]


def run(plan: Plan, environment: Environment, progress: Progress, takes: str = "") -> Summary:
    """Works through what is missing.

    Args:
        takes: how long that takes, in words, if it is known; shown at the start.

    Raises:
        StoreError: if results cannot be kept; what was kept before stays.
        KeyboardInterrupt: after Ctrl-C; trials that ended are kept.
    """
    store = environment.open_store()
    execute = find_executor(plan.config.executor)
    finished, todo = pending(plan, store)
    notices = disagreements(
        finished.values(), environment.registry(), environment.find_device(), environment.threads
    )
    plan.header["notices"] = notices
    store.write_plan(plan.key, plan.header)
    summary = Summary(finished)
    progress.say(announcement(plan, finished, todo, takes))
    for notice in notices:
        progress.say(f"    warning: {notice}")
    entries = {entry["id"]: entry for entry in plan.header["trials"]}
    started, count = time.monotonic(), 0
    watched = progress if plan.config.time_limit is None else Lines()  # what a worker process can take along
    perform = functools.partial(perform_task, environment=environment, progress=watched)
    tasks = _tasks(todo)
    work = execute(tasks, perform, plan.config.time_limit)
    for task, outcome in progress.track(Counted(work, len(tasks)), "noises and trials"):
        if task.kind == "protect":
            continue
        count += 1
        record = make_record(task.trial, entries[task.trial.id], plan, outcome)
        store.write_record(record)
        summary.records[task.trial.id] = record
        if record["status"] == "failed":
            summary.failures.append((trial_in_words(record), record["error"]["message"]))
        left = (time.monotonic() - started) / count * (len(todo) - count)
        tell = progress.show if record["status"] == "done" else progress.say
        tell(f"[{len(finished)}/{len(plan.trials)}] {trial_in_words(record)}: {_result(record)}{_left(left)}")
    return summary


def perform_task(task: Task, environment: Environment, progress: Progress) -> Outcome:
    """Does one task; a failure of content becomes an outcome, a failure of the store ends the run."""
    set_threads(environment.threads)
    try:
        if task.kind == "protect":
            protect(task.trial, environment, progress)
            return Outcome("done")
        return Outcome("done", found=evaluate(task.trial, environment, progress))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # content may end with anything, SystemExit among it: only its trial fails
        if isinstance(error, StoreError) and _is_ours(error):
            raise
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


def make_record(trial: Trial, entry: dict[str, Any], plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The trial's record, as the store keeps it and reports read it."""
    nothing: dict[str, Any] = {
        **{"metrics": {}, "curves": {}, "noise": None, "seconds": {}, "device_seconds": {}, "peak_bytes": 0},
        **{"device": None, "notes": {}, "warnings": [], "sources": {}},
    }
    return {
        **nothing,
        **(outcome.found or {}),
        **{name: entry[name] for name in KEPT},
        "id": trial.id,
        "suite": plan.config.suite,
        "profile": plan.config.profile,
        "status": (outcome.found or {}).get("status", "done") if outcome.status == "done" else "failed",
        "config": trial.config(),
        "versions": versions(),
        "commit": commit(),
        "error": outcome.error,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _tasks(todo: list[Trial]) -> list[Task]:
    """Each noise once, before the first trial that needs it."""
    tasks, made = [], set()
    for trial in todo:
        if trial.noise_key not in made:
            made.add(trial.noise_key)
            tasks.append(Task("protect", trial))
        tasks.append(Task("evaluate", trial, needs=trial.noise_key))
    return tasks


def announcement(plan: Plan, finished: dict[str, Any], todo: list[Trial], takes: str = "") -> str:
    """What a run will do, how much of it is done, and how long the rest takes, in words, if that is known."""
    noises = len({trial.noise_key for trial in todo})
    after = f", {takes}" if takes else ""
    what = f"{plan.config.suite} ({plan.config.profile})" if plan.config.profile else plan.config.suite
    return f"{what}: {len(plan.trials)} trials, {len(finished)} done, {len(todo)} to do with {noises} noises{after}"


def _result(record: dict[str, Any]) -> str:
    if record["status"] == "failed":
        return f"FAILED: {record['error']['message']}"
    metrics, seconds = record["metrics"], record["seconds"]
    found = _accuracy(metrics) if "accuracy_last" in metrics else _retrieval(metrics)
    invalid = "INVALID: " if record["status"] == "invalid" else ""
    return f"{invalid}{found}; protect {seconds['protect']:.1f} s, train {seconds['train']:.1f} s"


def _accuracy(metrics: dict[str, Any]) -> str:
    return (
        f"{metrics['accuracy_last']:.2f} % (best {metrics['accuracy_best']:.2f} in epoch "
        f"{metrics['accuracy_best_epoch']})"
    )


def _retrieval(metrics: dict[str, Any]) -> str:
    """Hit@10 and median rank, image to text and text to image; behind them those of the best epoch."""
    both = [
        f"{name} {part[f'{name}_hit@10']:.1f} % MedR {part[f'{name}_medr']:.0f}"
        for part in (metrics, metrics["best"])
        for name in ("i2t", "t2i")
    ]
    return f"Hit@10 {both[0]}, {both[1]} (best {both[2]}, {both[3]} in epoch {metrics['best']['epoch']})"


def _left(seconds: float) -> str:
    return f"; about {duration(seconds)} left" if seconds >= 1 else ""
