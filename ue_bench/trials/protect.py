"""Makes noise once for all trials that share it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ue_bench.canonical import digest, plain
from ue_bench.clock import Clock
from ue_bench.contracts.context import Context
from ue_bench.contracts.method import Method
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.errors import DamagedError, PerturbationError
from ue_bench.progress import Progress
from ue_bench.provenance import commit, describe_device, versions
from ue_bench.seeds import derive
from ue_bench.trials.artefacts import load_tensors, save_perturbation, save_tensors
from ue_bench.trials.environment import Environment
from ue_bench.trials.guard import guarded
from ue_bench.trials.noise import load_noise
from ue_bench.trials.overlap import compare, hashes, key_of
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Trial


def protect(trial: Trial, environment: Environment, progress: Progress) -> None:
    """Makes the trial's noise, checks it and keeps it in the store; does nothing if it is there already.

    Raises:
        Exception: whatever the method raises; PerturbationError if its noise breaks a promise.
    """
    try:
        if load_noise(trial, environment) is not None:
            return
    except (DamagedError, PerturbationError) as error:
        progress.say(f"    {error}; it is made again")
    perturbation, facts = make_noise(trial, environment, progress)
    save_perturbation(environment.open_store(), trial.noise_key, perturbation, facts)


def make_noise(
    trial: Trial, environment: Environment, progress: Progress
) -> tuple[Perturbation, dict[str, Any]]:
    """Runs the method: (checked noise, what it cost and noted)."""
    method = make_method(trial, environment)
    train = environment.load(trial).train
    device = environment.find_device()
    clock = Clock(device)
    prepared, preparation = prepare(trial, method, environment, progress)
    context = make_context(trial, environment, clock, progress, "protect")
    context.prepared = prepared
    context.shelf = StoreShelf(environment.open_store(), progress)
    context.data_key = trial.train_fingerprint
    if preparation:
        clock.add("prepare", preparation["seconds"]["prepare"], preparation["device_seconds"]["prepare"])
        context.kept_keys.append(preparation["prepare_key"])
    view = _view(train, method, trial)
    promised = method.promised_budget(view.image_size)
    with guarded(trial.method.name, context.warn):
        seed_everything(context.seed)
        with clock.phase("protect"):
            perturbation = method.protect(view, context)
    if type(perturbation) is not Perturbation:  # a class of its own could check otherwise
        raise PerturbationError(f"protect must return a Perturbation, not {type(perturbation).__name__}")
    perturbation.check(len(view), view.image_size, promised)
    _note_public_data(preparation, context, trial, environment)
    facts = {
        "method": trial.method,
        "source": environment.registry().source("methods", trial.method.name),
        "prepare_key": "+".join(sorted(set(context.kept_keys))) or None,
        "protect_key": "+".join(sorted(set(context.shared_keys))) or None,
        "dataset": trial.dataset.name,
        "train_fingerprint": trial.train_fingerprint,
        "seed": trial.seed,
        "seconds": clock.seconds,
        "device_seconds": clock.device_seconds,
        "peak_bytes": max(preparation.get("peak_bytes", 0), clock.peak_bytes),
        "notes": {**preparation.get("notes", {}), **context.notes},
        "warnings": [*preparation.get("warnings", []), *context.warnings],
        "device": describe_device(device),
        "versions": versions(),
        "commit": commit(),
    }
    return perturbation, facts


def make_method(trial: Trial, environment: Environment) -> Method:
    """The trial's method, configured."""
    method: Method = environment.registry().create("methods", trial.method.name, trial.method.parameters)
    return method


def prepare(
    trial: Trial, method: Method, environment: Environment, progress: Progress
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """What the method prepares once for any number of datasets, from the store where it is there already."""
    if type(method).prepare is Method.prepare:
        return {}, {}
    shelf, key = StoreShelf(environment.open_store(), progress), prepare_key(trial, method)
    kept = shelf.load(key)
    source = environment.registry().source("methods", trial.method.name)
    if kept is not None:
        tensors, facts = kept
        if facts.get("source", source) == source:
            return kept
        other = f"the code of the method {trial.method.name} has changed since it prepared what is used here"
        return tensors, {**facts, "warnings": [*facts["warnings"], other]}
    device = environment.find_device()
    clock = Clock(device)
    context = make_context(trial, environment, clock, progress, "prepare")
    context.shelf = shelf
    with guarded(trial.method.name, context.warn):
        seed_everything(context.seed)
        with clock.phase("prepare"):
            tensors = method.prepare(context)
    for about, data in context.public:
        shelf.save(key_of(about), hashes(data), about)
    facts = {
        "seconds": clock.seconds,
        "device_seconds": clock.device_seconds,
        "peak_bytes": clock.peak_bytes,
        "notes": context.notes,
        "warnings": context.warnings,
        "prepare_key": key,
        "source": source,
        "method": trial.method,
        "seed": trial.seed,
        "device": describe_device(device),
        "versions": versions(),
        "commit": commit(),
        "public_data": [about for about, _ in context.public],
    }
    facts = plain(facts)
    shelf.save(key, tensors, facts)
    return tensors, facts


def prepare_key(trial: Trial, method: Method) -> str:
    """The same for all trials that share what the method prepares: fields that only ``protect`` reads are left out."""
    parameters = {name: v for name, v in trial.method.parameters.items() if name not in method.protect_only}
    return digest([replace(trial.method, parameters=parameters), trial.seed])


def _note_public_data(
    preparation: Mapping[str, Any], context: Context, trial: Trial, environment: Environment
) -> None:
    """Names in the record what public data the method learned from, and warns where it overlaps with the trial's."""
    shelf, found = context.shelf, []
    known = [*preparation.get("public_data", []), *(about for about, _ in context.public)]
    for about in known:
        kept = shelf.load(key_of(about)) if shelf else None
        if kept is None:
            public = environment.load_dataset(about["dataset"], about["image_size"], about["parameters"])
            kept = hashes(public.train), about
        facts, warning = compare(about, kept[0], trial.dataset.name, _at_its_size(about, trial, environment))
        found.append(facts)
        if warning:
            context.warn(warning)
    if found:
        context.notes["public_data"] = found


def _at_its_size(about: Mapping[str, Any], trial: Trial, environment: Environment) -> Split:
    """The trial's data, decoded at the public data's size where that is the smaller one: pixels are compared there."""
    split, size = environment.load(trial), about["image_size"]
    if size is None or not size < min(split.train.image_size):
        return split
    return environment.load_dataset(trial.dataset.name, size, trial.dataset.parameters)


@dataclass(frozen=True)
class StoreShelf:
    """Artefacts that methods share, kept in the store; a damaged one is named and made again."""

    store: Store
    progress: Progress

    def load(self, key: str) -> tuple[Mapping[str, Tensor], Mapping[str, Any]] | None:
        """(tensors, facts), or None."""
        try:
            return load_tensors(self.store, "prepared", key)
        except DamagedError as error:
            self.progress.say(f"    {error}; it is made again")
            return None

    def save(self, key: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keeps them under ``prepared/``."""
        save_tensors(self.store, "prepared", key, tensors, facts)


def _view(train: ImageSet, method: Method, trial: Trial) -> ProtectorView:
    return ProtectorView(train, method.access, trial.paradigm, trial.method.name)


def make_context(
    trial: Trial, environment: Environment, clock: Clock, progress: Progress, role: str
) -> Context:
    """What a method gets beside its view; ``role``, prepare or protect, gives it a seed of its own."""
    return Context(
        device=clock.device,
        seed=derive(trial.seed, role),
        clock=clock,
        progress=progress,
        build_victim=environment.build_victim,
        load_dataset=environment.load_dataset,
    )


def seed_everything(seed: int) -> None:
    """For libraries that draw from global state; methods of ours use the context's generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
