"""Loads a trial's noise from the store, and checks it again before it is used."""

from __future__ import annotations

from typing import Any

from ue_bench.contracts.perturbation import Perturbation
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.environment import Environment
from ue_bench.trials.paradigms import WAYS
from ue_bench.trials.trial import Trial


def load_noise(trial: Trial, environment: Environment) -> tuple[Perturbation, dict[str, Any]] | None:
    """(noise, the facts kept with it) from the store; None if there is none.

    Raises:
        StoreError: if the file is damaged or cannot be read.
        PerturbationError: if the noise breaks a promise, its method's budget among them.
    """
    kept = load_perturbation(environment.open_store(), trial.noise_key)
    if kept is None:
        return None
    check_noise(kept[0], trial, environment)
    return kept


def check_noise(perturbation: Perturbation, trial: Trial, environment: Environment) -> None:
    """Raises PerturbationError if noise from the store breaks a promise, its method's budget among them."""
    train, promised = environment.load(trial).train, None
    if trial.poison_ratio > 0:  # else none of it is used
        method = environment.registry().create(
            "methods", trial.method.name, trial.method.parameters, trial.paradigm
        )
        promised = method.promised_budget(train.image_size)
    perturbation.check(WAYS[trial.paradigm].examples(train), train.image_size, promised)
