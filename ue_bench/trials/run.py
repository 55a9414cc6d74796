"""Runs the missing trials of a plan, and keeps every result as soon as it is there."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ue_bench.dimensions import trial_in_words
from ue_bench.progress import Counted, Progress, duration
from ue_bench.text import one_line
from ue_bench.trials.agreement import disagreements
from ue_bench.trials.ending import heeding_sigterm
from ue_bench.trials.environment import Environment
from ue_bench.trials.executors import Outcome, Resources, Setup, Task, find_executor
from ue_bench.trials.leftovers import remove_leftovers
from ue_bench.trials.plan import Plan
from ue_bench.trials.schedule import Schedule
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Trial
from ue_bench.trials.work import Work

KEPT = (  # the part of a trial's entry in the plan that its record keeps
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


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        records: of all trials of the plan, old and new, by id; old ones share what they have in common.
        failures: (trial, message) of this run.
        left: trials that were not started, for lack of time or because other runs work on them.
    """

    records: dict[str, dict[str, Any]]
    failures: list[tuple[str, str]] = field(default_factory=list)
    left: list[Trial] = field(default_factory=list)


def pending(
    plan: Plan, records: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], list[Trial]]:
    """(records of trials that are done, trials still to do); failed ones are tried again."""
    finished, _ = _divide({trial.id: records[trial.id] for trial in plan.trials if trial.id in records})
    return finished, [trial for trial in plan.trials if trial.id not in finished]


def run(
    plan: Plan,
    environment: Environment,
    progress: Progress,
    takes: str = "",
    may_start: Callable[[Task, float], bool] | None = None,
    known: Mapping[str, dict[str, Any]] | None = None,
) -> Summary:
    """Does the missing work, together with other runs on this store.

    Args:
        takes: how long it takes, in words, or "" if unknown; shown at the start.
        may_start: see ``Schedule``; None: there is no time limit, and other runs are waited for.
        known: records of the store that were read already; finished ones are not read again.

    Raises:
        StoreError: if results cannot be kept; what was kept before stays.
        KeyboardInterrupt: after Ctrl-C; trials that ended are kept.
    """
    store = environment.open_store()
    environment = dataclasses.replace(environment, owner=uuid.uuid4().hex)
    claims = environment.claims()

    def give_up() -> None:
        claims.release_task()
        claims.remove_dead()

    with contextlib.ExitStack() as ending:
        ending.callback(remove_leftovers, store)  # the last one first
        ending.callback(give_up)
        with heeding_sigterm(give_up):
            open_executor = find_executor(plan.config.executor)
            finished, failed = _records_of(plan, store, known or {})
            todo = [trial for trial in plan.trials if trial.id not in finished]
            notices = disagreements(
                finished.values(), environment.registry(), environment.find_device(), environment.threads
            )
            plan.header["notices"] = notices
            store.write_plan(plan.key, plan.header)
            remove_leftovers(store)
            summary = Summary(finished)
            progress.say(announcement(plan, finished, todo, takes))
            for notice in [*notices, *_beside_others(store)]:
                progress.say(f"    warning: {notice}")
            tasks = _tasks(todo, plan.header["trials"], failed)
            work = Work(environment, plan.config.suite, plan.config.profile)
            setup = Setup(
                perform=work,
                environment=environment,
                workers=plan.config.count_workers(),
                tasks=len(tasks),
                time_limit=plan.config.time_limit,
                peak_bytes=_peaks(finished.values()),
                resources=Resources(
                    plan.config.ray_address, plan.config.gpus_per_trial, plan.config.cpus_per_trial
                ),
                progress=progress,
            )
            schedule = Schedule(
                tasks,
                open_executor(setup),
                progress,
                plan.config.time_limit,
                may_start,
                lose=lambda task: claims.release_task(task.name),
                patient=may_start is None,
            )
            ending.callback(schedule.executor.close)
            started, count = time.monotonic(), 0
            for task, outcome in progress.track(Counted(schedule.work(), len(tasks)), "noises and trials"):
                if task.kind == "protect":
                    continue
                count += 1
                record = _recorded(task, outcome, work, store)
                summary.records[task.trial.id] = record
                if record["status"] == "failed":
                    summary.failures.append((trial_in_words(record), record["error"]["message"]))
                left = (time.monotonic() - started) / count * (len(todo) - count)
                tell = progress.show if record["status"] == "done" else progress.say
                tell(
                    f"[{len(finished)}/{len(plan.trials)}] {trial_in_words(record)}: {_result(record)}"
                    f"{' (by another run)' if outcome.elsewhere else ''}{_left(left)}"
                )
    summary.left = [task.trial for task in schedule.left if task.kind == "evaluate"]
    return summary


def _records_of(
    plan: Plan, store: Store, known: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(records of trials that are done, records of those that failed); other runs may have done some meanwhile."""
    done, todo = pending(plan, known)
    done |= store.read_records((trial.id for trial in todo), later=True)
    return _divide({trial.id: done[trial.id] for trial in plan.trials if trial.id in done})


def _divide(records: Mapping[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(records of trials that are done, records of those that failed)."""
    finished = {key: record for key, record in records.items() if record["status"] != "failed"}
    return finished, {key: record for key, record in records.items() if key not in finished}


def _recorded(task: Task, outcome: Outcome, work: Work, store: Store) -> dict[str, Any]:
    """The trial's record, which whoever did the trial has written; if nobody did, it is written here."""
    record = store.read_record(task.trial.id)
    if outcome.status == "done" and record is not None:
        return record
    if record is None or record["status"] != "failed" or record.get("created") == task.failed:
        work.keep_failure(task, outcome)
        record = store.read_record(task.trial.id)
    return record or work.record(task, outcome)


def _peaks(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Device type -> the most memory that a trial took there, in bytes."""
    found: dict[str, int] = {}
    for record in records:
        device = str((record["device"] or {}).get("type"))
        found[device] = max(found.get(device, 0), record["peak_bytes"])
    return found


def _beside_others(store: Store) -> list[str]:
    """What a person should know about other runs on this store, in sentences."""
    if store.local:
        return []
    return [
        f"{store.address} cannot hold claims, so runs on other machines may do the same work a second time; nothing is "
        "damaged by it, and runs on this machine share the work"
    ]


def _tasks(
    todo: list[Trial], entries: Iterable[Mapping[str, Any]], failed: Mapping[str, Mapping[str, Any]]
) -> list[Task]:
    """The tasks: each noise once, before the first trial that needs it."""
    by_id, made, tasks = {entry["id"]: entry for entry in entries}, set(), []
    for trial in todo:
        labels = {name: by_id[trial.id][name] for name in KEPT}
        before = str(failed[trial.id]["created"]) if trial.id in failed else ""
        if trial.noise_key not in made:
            made.add(trial.noise_key)
            tasks.append(Task("protect", trial, labels=labels, failed=before))
        tasks.append(Task("evaluate", trial, trial.noise_key, labels, before))
    return tasks


def announcement(plan: Plan, finished: dict[str, Any], todo: list[Trial], takes: str = "") -> str:
    """What a run will do, how much of it is done and, if known, how long the rest takes, in words."""
    noises = len({trial.noise_key for trial in todo})
    after = f", {takes}" if takes else ""
    what = f"{plan.config.suite} ({plan.config.profile})" if plan.config.profile else plan.config.suite
    return f"{what}: {len(plan.trials)} trials, {len(finished)} done, {len(todo)} to do with {noises} noises{after}"


def _result(record: dict[str, Any]) -> str:
    if record["status"] == "failed":
        return one_line(f"FAILED: {record['error']['message']}")
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
    """Hit@10 and median rank, image to text and text to image, followed by those of the best epoch."""
    both = [
        f"{name} {part[f'{name}_hit@10']:.1f} % MedR {part[f'{name}_medr']:.0f}"
        for part in (metrics, metrics["best"])
        for name in ("i2t", "t2i")
    ]
    return f"Hit@10 {both[0]}, {both[1]} (best {both[2]}, {both[3]} in epoch {metrics['best']['epoch']})"


def _left(seconds: float) -> str:
    return f"; about {duration(seconds)} left" if seconds >= 1 else ""
