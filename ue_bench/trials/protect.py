"""Makes noise once for all trials that share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.data.imageset import Split
from ue_bench.errors import DamagedError, PerturbationError
from ue_bench.probes import noise_probes
from ue_bench.progress import Progress
from ue_bench.trials.artefacts import save_perturbation
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import Made, create_method, run_method
from ue_bench.trials.noise import load_noise
from ue_bench.trials.overlap import compare, hashes, key_of
from ue_bench.trials.poison import publish
from ue_bench.trials.trial import Trial


def protect(trial: Trial, environment: Environment, progress: Progress, attempts: int = 1) -> None:
    """Makes the trial's noise, checks it and keeps it in the store; does nothing if it is there already.

    ``attempts`` says which attempt this is, from 1; the facts kept with the noise say so if it is not the first.

    Raises:
        Exception: whatever the method raises; PerturbationError if its noise breaks a promise.
    """
    try:
        if load_noise(trial, environment) is not None:
            return
    except (DamagedError, PerturbationError) as error:
        progress.say(f"    {error}; it is made again")
    perturbation, facts = make_noise(trial, environment, progress)
    facts["measures"] = _probe(trial, environment, perturbation)
    if attempts > 1:
        facts["attempts"] = attempts
    save_perturbation(environment.open_store(), trial.noise_key, perturbation, facts)


def make_noise(
    trial: Trial, environment: Environment, progress: Progress
) -> tuple[Perturbation, dict[str, Any]]:
    """Runs the method. Returns (checked noise, the facts that are kept with it)."""
    environment = environment.as_planned(trial)
    train, method = environment.load(trial).train, create_method(trial.method, environment, trial.paradigm)
    view = ProtectorView(train, method.access, trial.paradigm, trial.method.name)
    made = run_method(trial.method, trial.seed, view, trial.train_fingerprint, environment, progress)
    _note_public_data(made, trial, environment)
    ledger = made.context.ledger
    facts = {
        **made.facts(),
        "method": trial.method,
        "source": environment.registry().source("methods", trial.method.name),
        "prepare_key": "+".join(sorted(set(ledger.prepare_keys))) or None,
        "protect_key": "+".join(sorted(set(ledger.protect_keys))) or None,
        "dataset": trial.dataset.name,
        "train_fingerprint": trial.train_fingerprint,
        "seed": trial.seed,
    }
    return made.perturbation, facts


def _probe(trial: Trial, environment: Environment, perturbation: Perturbation) -> dict[str, float]:
    """How well simple models learn the noise, as records keep it; {} without labels or noise.

    All images are protected here, whatever the trial's ratio.
    """
    train = environment.load(trial).train
    if trial.paradigm != "supervised" or train.labels is None or perturbation.budget.empty:
        return {}
    published = publish(train.images, perturbation, torch.ones(len(train), dtype=torch.bool))
    return noise_probes(train.images, published, train.labels, environment.find_device())


def _note_public_data(made: Made, trial: Trial, environment: Environment) -> None:
    """Records which public data the method learned from, and warns if they overlap with the trial's data."""
    shelf, found = made.context.ledger.shelf, []
    for about in made.public_data:
        kept = shelf.load(key_of(about)) if shelf else None
        if kept is None:
            public = environment.load_dataset(about["dataset"], about["image_size"], about["parameters"])
            kept = hashes(public.train), about
        facts, warning = compare(about, kept[0], trial.dataset.name, _at_its_size(about, trial, environment))
        found.append(facts)
        if warning:
            made.context.warn(warning)
    if found:
        made.context.notes["public_data"] = found


def _at_its_size(about: Mapping[str, Any], trial: Trial, environment: Environment) -> Split:
    """The trial's data, at the public data's size if that is smaller: pixels are compared at one size only."""
    split, size = environment.load(trial), about["image_size"]
    if size is None or not size < min(split.train.image_size):
        return split
    return environment.load_dataset(trial.dataset.name, size, trial.dataset.parameters)
