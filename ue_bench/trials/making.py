"""Runs a method: shares what it prepares once, and lets it make noise for what it may see. All noise is made here."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ue_bench.canonical import digest, plain
from ue_bench.clock import Clock
from ue_bench.contracts.context import Context
from ue_bench.contracts.ledger import Ledger
from ue_bench.contracts.method import Method
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.errors import DamagedError, PerturbationError
from ue_bench.progress import Progress
from ue_bench.provenance import commit, describe_device, versions
from ue_bench.seeds import derive
from ue_bench.training.arithmetic import computing_as
from ue_bench.trials.arithmetic import USUAL, Arithmetic
from ue_bench.trials.artefacts import load_tensors, save_tensors
from ue_bench.trials.claims import Claims
from ue_bench.trials.environment import Environment
from ue_bench.trials.guard import guarded
from ue_bench.trials.overlap import hashes, key_of
from ue_bench.trials.speed import speed_of
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Choice, key_of_noise


@dataclass(frozen=True)
class Made:
    """Noise, and the facts about how it was made.

    Attributes:
        perturbation: checked.
        context: of ``protect``; more warnings and notes may be added before ``facts`` are asked for.
        preparation: the facts kept with what the method prepared once, or {}.
    """

    perturbation: Perturbation
    context: Context
    preparation: Mapping[str, Any]

    @property
    def public_data(self) -> list[dict[str, Any]]:
        """The public data that the method learned from."""
        return [
            *self.preparation.get("public_data", []),
            *(about for about, _ in self.context.ledger.public),
        ]

    def facts(self) -> dict[str, Any]:
        """Its cost, notes and warnings, those of what was prepared for it included, and the machine that made it."""
        own, before = _facts(self.context), self.preparation
        facts = {
            **own,
            "peak_bytes": max(before.get("peak_bytes", 0), own["peak_bytes"]),
            "notes": {**before.get("notes", {}), **own["notes"]},
            "warnings": [*before.get("warnings", []), *own["warnings"]],
        }
        if resumed := [*before.get("resumed", []), *own.get("resumed", [])]:
            facts["resumed"] = resumed
        return facts


def run_method(
    choice: Choice,
    seed: int,
    view: ProtectorView,
    data_key: str,
    environment: Environment,
    progress: Progress,
) -> Made:
    """The noise of a configured method for what it sees.

    Args:
        choice: the method.
        seed: from which the method's seeds derive.
        view: of what is to be protected.
        data_key: a hash of that, part of the key of work that is shared through the store.

    Raises:
        Exception: whatever the method raises; PerturbationError if its noise breaks a promise.
    """
    method = create_method(choice, environment, view.paradigm)
    prepared, preparation = prepare(choice, seed, environment, progress)
    work = f"noise-{key_of_noise(data_key, view.paradigm, choice, seed, environment.arithmetic)}"
    context = _context(seed, "protect", environment, progress, choice, work)
    context.prepared = prepared
    context.ledger.data_key = _with_arithmetic(data_key, choice, environment)
    if preparation:
        share = (preparation.get("shared") or {}).get("prepare", 1.0)
        seconds, device_seconds = preparation["seconds"], preparation["device_seconds"]
        context.clock.add("prepare", seconds["prepare"], device_seconds["prepare"], share)
        context.clock.add_flop("prepare", preparation.get("flop", {}).get("prepare"))
        context.ledger.prepare_keys.append(preparation["prepare_key"])
    promised = method.promised_budget(view.image_size)
    with _running(choice, environment, context), context.clock.phase("protect"):
        perturbation = method.protect(view, context)
    if type(perturbation) is not Perturbation:  # a class of its own could check otherwise
        raise PerturbationError(f"protect must return a Perturbation, not {type(perturbation).__name__}")
    perturbation.check(len(view), view.image_size, promised)
    if not perturbation.budget.empty:
        context.clock.images["protect"] = len(view)
    return Made(perturbation, context, preparation)


def create_method(choice: Choice, environment: Environment, paradigm: str = "") -> Method:
    """The method, configured."""
    method: Method = environment.registry().create("methods", choice.name, choice.parameters, paradigm)
    return method


def prepare(
    choice: Choice, seed: int, environment: Environment, progress: Progress
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """(tensors, facts) of what the method prepares once for any number of datasets; ({}, {}) if it prepares nothing.

    They come from the store where they are there already.
    """
    method = create_method(choice, environment)
    if not method.prepares:
        return {}, {}
    shelf = StoreShelf(environment.open_store(), progress, environment.claims())
    key = prepare_key(choice, seed, method, environment.arithmetic)
    kept = shelf.load(key)
    source = environment.registry().source("methods", choice.name)
    if kept is not None:
        tensors, told = kept
        if told.get("source", source) == source:
            return kept
        other = f"the code of the method {choice.name} has changed since it prepared what is used here"
        return tensors, {**told, "warnings": [*told["warnings"], other]}
    with shelf.claim(key):
        return shelf.load(key) or _prepare(choice, method, seed, key, environment, progress)


def _prepare(
    choice: Choice, method: Method, seed: int, key: str, environment: Environment, progress: Progress
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    context = _context(seed, "prepare", environment, progress, choice, f"prepared-{key}")
    shelf, source = context.ledger.shelf, environment.registry().source("methods", choice.name)
    assert shelf is not None
    with context.ledger.checkpoints.of(f"prepared-{key}"):
        with _running(choice, environment, context), context.clock.phase("prepare"):
            tensors = method.prepare(context)
        for about, data in context.ledger.public:
            shelf.save(key_of(about), hashes(data), about)
        facts = {
            **_facts(context),
            "prepare_key": key,
            "source": source,
            "method": choice,
            "seed": seed,
            "public_data": [about for about, _ in context.ledger.public],
        }
        facts = plain(facts)
        shelf.save(key, tensors, facts)
    return tensors, facts


def prepare_key(choice: Choice, seed: int, method: Method, arithmetic: Arithmetic = USUAL) -> str:
    """Equal for all that share what the method prepares: parameters that only ``protect`` reads are left out.

    Args:
        choice: the method with every parameter.
        seed: of the trial.
        method: knows which parameters those are.
        arithmetic: in which it is prepared.
    """
    parameters = {name: value for name, value in choice.parameters.items() if name not in method.protect_only}
    return digest([replace(choice, parameters=parameters), seed, *arithmetic.of(choice.parameters).told()])


@dataclass(frozen=True)
class StoreShelf:
    """Artefacts that methods share, kept in the store; a damaged one is named and made again.

    Attributes:
        claims: who makes which, or None where nobody else can.
    """

    store: Store
    progress: Progress
    claims: Claims | None = None

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

    def claim(self, key: str) -> AbstractContextManager[None]:
        """A block in which nobody else makes it; raises Busy at its start if somebody does."""
        return nullcontext() if self.claims is None else self.claims.held(f"prepared-{key}")


def _context(
    seed: int, role: str, environment: Environment, progress: Progress, choice: Choice, work: str
) -> Context:
    """What a method gets beside its view; ``role``, prepare or protect, gives it a seed of its own."""
    device = environment.find_device()
    clock, source = Clock(device), environment.registry().source("methods", choice.name)
    return Context(
        device=device,
        seed=derive(seed, role),
        clock=clock,
        progress=progress,
        ledger=Ledger(
            functools.partial(environment.build_victim, clock=clock),
            environment.find_public,
            StoreShelf(environment.open_store(), progress, environment.claims()),
            _with_arithmetic("", choice, environment),
            checkpoints=environment.checkpoints(work, source, clock),
        ),
    )


def _with_arithmetic(data_key: str, choice: Choice, environment: Environment) -> str:
    told = environment.arithmetic.of(choice.parameters).told()
    return digest([data_key, *told]) if told else data_key


def _facts(context: Context) -> dict[str, Any]:
    clock = context.clock
    found = {
        "seconds": clock.seconds,
        "device_seconds": clock.device_seconds,
        "peak_bytes": clock.peak_bytes,
        "flop": clock.flop,
        "speed": speed_of(clock),
        "notes": context.notes,
        "warnings": context.ledger.warnings,
        "device": describe_device(clock.device),
        "versions": versions(),
        "commit": commit(),
    }
    if context.ledger.checkpoints.resumed:
        found["resumed"] = context.ledger.checkpoints.resumed
    if clock.shared:
        found["shared"] = clock.shared
    return found


@contextlib.contextmanager
def _running(choice: Choice, environment: Environment, context: Context) -> Iterator[None]:
    """Runs a method's code: in its arithmetic, in a seeded process, and watched."""
    switches = environment.arithmetic.of(choice.parameters).switches
    with computing_as(switches, context.device), guarded(choice.name, context.warn):
        _seed_everything(context.seed)
        yield


def _seed_everything(seed: int) -> None:
    """Seeds the global state for libraries that draw from it; our own methods use the context's generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
