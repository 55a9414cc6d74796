"""Measures costs for which there is no record, by running methods and trainings on slices of the data.

The results go to a scratch store.

Everything runs in a worker process that is ended when one measurement takes too long: asking for a price must not
cost as much as the work.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ue_bench.contracts.access import Access
from ue_bench.contracts.budget import Budget
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.dimensions import method_in_words
from ue_bench.forecast.evidence import Evidence, Size, noise_of, training_of
from ue_bench.forecast.prediction import predict
from ue_bench.progress import Progress, duration
from ue_bench.provenance import describe_device
from ue_bench.threads import set_threads
from ue_bench.trials.artefacts import save_perturbation
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import evaluate
from ue_bench.trials.executors import Outcome, Task
from ue_bench.trials.executors.worker import Worker
from ue_bench.trials.making import StoreShelf, create_method, prepare_key
from ue_bench.trials.overlap import key_of
from ue_bench.trials.poison import poison_mask
from ue_bench.trials.protect import make_noise
from ue_bench.trials.trial import Trial

CAP_SECONDS = 60.0  # the limit of one measurement
SHORT_SECONDS = 120.0  # the limit of all measurements in a dry run; each may take a quarter of it
GROW_SECONDS = 2.0  # a slice that took less is followed by a larger one
# A first slice that took less is measured again, because imports and the like are not part of the price.
REPEAT_SECONDS = 5.0
FIRST_IMAGES = 256
TRAINING_BATCHES = 8
TRAINING_SECONDS = 3.0  # the time for which a training is measured


@dataclass(frozen=True)
class SlicedEnvironment(Environment):
    """An environment whose training and test sets are cut to a number of images; classes keep their shares."""

    images: int = FIRST_IMAGES

    @classmethod
    def of(cls, environment: Environment, store: str, images: int) -> SlicedEnvironment:
        """The same environment with cut data and another store."""
        return cls(store, environment.device, environment.plugins, environment.threads, images=images)

    def load(self, trial: Trial) -> Split:
        """The trial's dataset, cut."""
        return _cut(super().load(trial), self.images)


@dataclass(frozen=True)
class Measurement(Task):
    """A task that is measured on a given number of images."""

    images: int = FIRST_IMAGES


@functools.lru_cache(maxsize=2)
def _cut(split: Split, images: int) -> Split:
    return Split(_slice(split.train, images), _slice(split.test, images))


def _slice(data: ImageSet, images: int) -> ImageSet:
    if images >= len(data):
        return data
    return data.take(poison_mask(data.labels, len(data), images / len(data), seed=0).nonzero()[:, 0])


def calibrate(
    todo: Sequence[Trial],
    evidence: Evidence,
    environment: Environment,
    progress: Progress,
    cap: float = CAP_SECONDS,
    total: float = math.inf,
) -> Evidence:
    """Measures every cost that the evidence lacks for these trials, adds it, and shows each measurement.

    Args:
        todo: trials to come.
        environment: the run's environment; its store is not changed.
        cap: seconds that one measurement may take; a cost that takes longer to measure stays unknown.
        total: seconds that all measurements may take together; costs that are not reached by then stay unknown.
    """
    jobs = list(_jobs(todo, evidence))
    if not jobs:
        return evidence
    bound = f"at most {cap:g} s for each slice" + (f", {duration(total)} for all" if total < math.inf else "")
    costs = "1 cost that is" if len(jobs) == 1 else f"{len(jobs)} costs that are"
    progress.say(f"calibration: measuring {costs} in no record, on slices of the data, {bound}")
    end = time.monotonic() + total
    records, failures, sizes = list(evidence.calibrated), dict(evidence.failures), dict(evidence.sizes)
    worker = Worker(functools.partial(measure, environment=environment), cap)
    full = [sizes[job.trial.train_fingerprint].train for job, _ in jobs]
    tries = [_tries(job, most, worker, cap, end) for (job, _), most in zip(jobs, full, strict=True)]
    measured: set[int] = set()
    try:
        for place, turn, outcome in _in_turns(tries, end):
            (job, of), count = jobs[place], f"[{place + 1}/{len(jobs)}]"
            if outcome is None:
                failures[of] = f"not measured within {duration(total)}"
            elif outcome.found:
                measured.add(place)
                records.append(outcome.found["record"])
                sizes[records[-1]["config"]["train_fingerprint"]] = outcome.found["size"]
            elif place not in measured:
                failures[of] = _reason(job, outcome, full[place], worker.time_limit or cap)
            if turn == 0 and outcome:
                told = _result(job, outcome, full[place]) if outcome.found else failures[of]
                progress.say(f"    {count} {_what(job)}: {told}")
    finally:
        worker.end()
    return dataclasses.replace(evidence, calibrated=records, failures=failures, sizes=sizes)


def _in_turns(tries: Sequence[Iterator[Outcome]], end: float) -> Iterator[tuple[int, int, Outcome | None]]:
    """Yields (place, turn, outcome), the first outcome of every job before the second outcome of any.

    After ``end`` (of ``time.monotonic``) it yields None for every job that has had no turn, and then stops.
    """
    going, turn = dict(enumerate(tries)), 0
    while going:
        for place, outcomes in list(going.items()):
            late = time.monotonic() >= end
            outcome = None if late else next(outcomes, None)
            if outcome is None:
                del going[place]
            if outcome or (late and turn == 0):
                yield place, turn, outcome
        turn += 1


def _jobs(todo: Sequence[Trial], evidence: Evidence) -> Iterator[tuple[Measurement, str]]:
    """Yields (what to measure, what it stands for), once for all trials with the same cost per image."""
    trials = {trial.id: trial for trial in todo}
    seen: set[Any] = set()
    for piece in predict(todo, evidence):
        if piece.seconds is None:
            trial = trials[piece.id]
            full, config = evidence.sizes[trial.train_fingerprint], trial.config()
            of = noise_of(config) if piece.noise else training_of(config)
            images = FIRST_IMAGES if piece.noise else TRAINING_BATCHES * int(trial.recipe["batch_size"])
            if (of, full.pixels) not in seen:
                seen.add((of, full.pixels))
                yield Measurement("protect" if piece.noise else "evaluate", trial, images=images), of


def _what(job: Measurement) -> str:
    """The measurement in words: ``em (class)``, ``training of resnet18, cutout``."""
    trial = job.trial
    if job.kind != "protect":
        return f"training of {trial.victim.name}, {trial.defense.name}"
    granularity = trial.method.parameters.get("granularity")
    return method_in_words({"method": trial.method.name, "granularity": granularity})


def _tries(job: Measurement, most: int, worker: Worker, cap: float, end: float) -> Iterator[Outcome]:
    """Yields one measurement of a training, or several of a noise: on two slices, then on larger ones while quick.

    Two sizes separate a method's fixed cost from its cost per image. A failure ends the series, and so does the time
    ``end`` (of ``time.monotonic``).
    """

    def attempt() -> Outcome:
        worker.time_limit = min(cap, max(1.0, end - time.monotonic()))
        return worker.perform(job)

    job = dataclasses.replace(job, images=min(job.images, most))
    outcome = attempt()
    if job.kind == "protect" and outcome.found and _seconds(outcome) < REPEAT_SECONDS:
        outcome = attempt()
    while outcome.found:
        yield outcome
        spent, images = _seconds(outcome), job.images
        if job.kind == "evaluate" or images == most or (images != FIRST_IMAGES and spent >= GROW_SECONDS):
            return
        factor = next((factor for factor in (4, 2) if factor * spent < cap / 2), 0.5)
        if factor * spent > end - time.monotonic():
            return
        job = dataclasses.replace(job, images=min(round(factor * images), most))
        outcome = attempt()
    yield outcome


def _seconds(outcome: Outcome) -> float:
    """What the measurement took, without a preparation that the store had already."""
    found = outcome.found or {}
    return sum(found["record"]["seconds"].values()) - found["lent"]


def _result(job: Measurement, outcome: Outcome, most: int) -> str:
    """In words: ``256 of 4500 images of shapes took 3.1 s (the store has its preparation)``."""
    seconds = (outcome.found or {})["record"]["seconds"]
    remark = ""
    if (outcome.found or {})["lent"]:
        remark = " (the store has its preparation)"
    elif seconds.get("prepare"):
        remark = f", of which {seconds['prepare']:.1f} s for its preparation, whatever the number of images"
    images = f"{min(job.images, most)} of {most} images of {job.trial.dataset.name}"
    return f"{images} took {_seconds(outcome):.1f} s{remark}"


def _reason(job: Measurement, outcome: Outcome, most: int, cap: float) -> str:
    error = outcome.error or {}
    images = min(job.images, most)
    if error.get("kind") == "TimeoutError":
        return f"{images} of {most} images take longer than {cap:.3g} s"
    return f"on a slice of {images} images: {error.get('message')}"


def measure(job: Measurement, progress: Progress, environment: Environment) -> Outcome:
    """Runs one task on a slice; returns its cost in the form of a record and the slice's size, or why it failed.

    ``lent`` are the seconds in that record that a preparation from the run's store had taken before.
    """
    set_threads(environment.threads)
    lent = 0.0
    try:
        with tempfile.TemporaryDirectory() as scratch:
            sliced = SlicedEnvironment.of(environment, scratch, job.images)
            split = sliced.load(job.trial)
            trial = dataclasses.replace(job.trial, train_fingerprint=split.train.fingerprint)
            if job.kind == "protect":
                lent = _lend(trial, environment, sliced)
            record = _noise(trial, sliced) if job.kind == "protect" else _training(trial, sliced, split)
    except Exception as error:
        message = str(error) or type(error).__name__
        return Outcome("failed", error={"kind": type(error).__name__, "message": message})
    return Outcome("done", found={"record": record, "size": Size.of(split), "lent": lent})


def _noise(trial: Trial, environment: Environment) -> dict[str, Any]:
    """Runs a method on a slice. Its ``prepare`` is the whole preparation, which does not depend on the slice."""
    _, facts = make_noise(trial, environment, Progress())
    return {
        "config": trial.config(),
        "noise": {"key": trial.noise_key, "prepare_key": facts["prepare_key"]},
        "seconds": facts["seconds"],
        "device_seconds": facts["device_seconds"],
        "device": facts["device"],
    }


def _lend(trial: Trial, environment: Environment, scratch: Environment) -> float:
    """Copies what the method prepares once from the run's store, if it is there; returns the seconds that it took."""
    method = create_method(trial.method, scratch, trial.paradigm)
    if not method.prepares:
        return 0.0
    lender, borrower = (StoreShelf(one.open_store(), Progress()) for one in (environment, scratch))
    key = prepare_key(trial.method, trial.seed, method, trial.arithmetic)
    kept = lender.load(key)
    if kept is None:
        return 0.0
    borrower.save(key, *kept)
    for public in map(key_of, kept[1].get("public_data", [])):
        if hashed := lender.load(public):
            borrower.save(public, *hashed)
    return float(sum(kept[1]["seconds"].values()))


def _training(trial: Trial, environment: Environment, split: Split) -> dict[str, Any]:
    """Trains a victim on clean images: one epoch to warm up, then as many epochs as take a few seconds."""
    examples = len(ProtectorView(split.train, Access.NOTHING, trial.paradigm))
    nothing = torch.zeros(1, 3, *split.train.image_size, dtype=torch.int8)
    noise = Perturbation(nothing, torch.zeros(examples, dtype=torch.int64), Budget("linf", 0))
    facts = {
        "seconds": {},
        "device_seconds": {},
        "peak_bytes": 0,
        "notes": {},
        "warnings": [],
        "prepare_key": None,
    }
    found, wanted = {}, 1
    for _ in range(2):
        recipe = {**trial.recipe, "epochs": wanted}
        trial = dataclasses.replace(trial, poison_ratio=0.0, recipe=recipe)
        save_perturbation(environment.open_store(), trial.noise_key, noise, facts)
        found = evaluate(trial, environment, Progress())
        epoch = found["seconds"]["train"] / wanted
        wanted = max(1, min(100, round(TRAINING_SECONDS / max(epoch, 1e-3))))
    return {
        "config": trial.config(),
        "noise": None,
        "seconds": {phase: found["seconds"][phase] for phase in ("train", "evaluate")},
        "device_seconds": {phase: found["device_seconds"][phase] for phase in ("train", "evaluate")},
        "device": describe_device(environment.find_device()),
    }
