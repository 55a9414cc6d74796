"""Trains a victim on what was published and measures it on clean test data."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ue_bench.clock import Clock
from ue_bench.contracts.context import surrogate_seed
from ue_bench.contracts.defense import Defense
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.victim import Victim
from ue_bench.data.imageset import ImageSet
from ue_bench.data.strata import stratified
from ue_bench.errors import ConfigError, StoreError
from ue_bench.progress import Progress
from ue_bench.provenance import describe_device
from ue_bench.seeds import derive
from ue_bench.training.arithmetic import computing_as
from ue_bench.training.last_layer import probe_accuracy
from ue_bench.trials.agreement import sources_of
from ue_bench.trials.environment import Environment
from ue_bench.trials.guard import guarded
from ue_bench.trials.noise import load_noise
from ue_bench.trials.paradigms import WAYS
from ue_bench.trials.poison import poison_mask
from ue_bench.trials.speed import speed_of
from ue_bench.trials.trial import Trial


@dataclass(frozen=True)
class Training:
    """A trial's victim after its training, and what belongs to it.

    Attributes:
        victim: in evaluation or training mode, as its trainer left it.
        curves: what the training showed, with ``metrics``.
        clock: seconds by phase.
        made: the facts kept with the noise.
        noise: measures of the noise as published, or None without noise.
        warnings: sentences.
        resumed: where it went on after it had been killed.
    """

    victim: nn.Module
    curves: Any
    clock: Clock
    made: Mapping[str, Any]
    noise: dict[str, float | int] | None
    warnings: list[str]
    resumed: list[str]


def evaluate(trial: Trial, environment: Environment, progress: Progress) -> dict[str, Any]:
    """Trains and measures one trial's victim: the parts of its record that are measured.

    Returns:
        ``metrics curves noise mask speed seconds device_seconds peak_bytes device notes warnings status sources``; the
        status is ``invalid`` for a result that must not count, ``mask`` None unless a part of the images is protected.
        ``shared`` too if a phase was timed on a device that others used: phase -> the share that was left for it.
    """
    leaks: list[str] = []
    as_planned = computing_as(trial.arithmetic.switches, environment.find_device())
    with as_planned, guarded(_who(trial), leaks.append):
        done = train_victim(trial, environment, progress)
    made, clock = done.made, done.clock
    remarks = WAYS[trial.paradigm].remarks(done.curves, environment.load(trial).test)
    found = {
        "metrics": {**done.curves.metrics(), **_last_layer(trial, done, environment)},
        "curves": {
            name: curve for name, curve in dataclasses.asdict(done.curves).items() if curve not in ({}, [])
        },
        "noise": None
        if done.noise is None
        else {
            "key": trial.noise_key,
            "prepare_key": made["prepare_key"],
            "protect_key": made.get("protect_key"),
            **{name: made[name] for name in ("attempts", "resumed") if name in made},
            **done.noise,
            **made.get("measures", {}),
        },
        "mask": _kept_mask(trial, environment),
        "speed": {**made.get("speed", {}), **speed_of(clock)},
        "seconds": _with_protection(made["seconds"], clock.seconds),
        "device_seconds": _with_protection(made["device_seconds"], clock.device_seconds),
        "peak_bytes": max(made["peak_bytes"], clock.peak_bytes),
        "device": describe_device(clock.device),
        "notes": {**made["notes"], **remarks.notes, **_diagnosis(trial, made["notes"], environment)},
        "warnings": [*done.warnings, *leaks, *remarks.warnings],
        "status": remarks.status,
        "sources": _sources(trial, made, environment),
    }
    if done.resumed:
        found["resumed"] = done.resumed
    if shared := {**made.get("shared", {}), **clock.shared}:
        found["shared"] = shared
    return found


def _last_layer(trial: Trial, done: Training, environment: Environment) -> dict[str, float]:
    """``probe_accuracy``, with a last layer trained on clean images, timed as ``probe``; {} without such a layer."""
    split = environment.load(trial)
    if trial.paradigm != "supervised":
        return {}
    with done.clock.phase("probe"):
        found = probe_accuracy(done.victim, split.train, split.test, done.clock.device)
    return {} if found is None else {"probe_accuracy": found}


def train_victim(trial: Trial, environment: Environment, progress: Progress) -> Training:
    """Trains the trial's victim on what was published, measured after every epoch; the same seed, the same victim.

    Raises:
        StoreError: if the trial's noise is not in the store.
    """
    way = WAYS[trial.paradigm]
    split, device = environment.load(trial), environment.find_device()
    kept = load_noise(trial, environment)
    if kept is None:
        raise StoreError(f"noise {trial.noise_key} is no longer in the store: run the same command again")
    perturbation, made = kept
    warnings = [*made["warnings"], *_made_otherwise(trial, made, environment)]
    published, noise = poisoned(trial, split.train, perturbation)
    chosen = round(len(split.train) * trial.poison_ratio)
    if noise is not None and noise["changed_images"] != chosen and not perturbation.partial:
        warnings.append(
            f"{chosen - noise['changed_images']} of {chosen} protected images are saturated and stayed as they were"
        )
    clock = Clock(device)
    sources = sources_of(trial, environment.registry())
    checkpoints = environment.checkpoints(f"trial-{trial.id}", sources, clock)
    victim = build_victim(trial, environment, clock)
    defense = environment.registry().create("defenses", trial.defense.name, trial.defense.parameters)
    torch.manual_seed(derive(trial.seed, "dropout"))  # networks with dropout draw from global state
    published, more = _held_out(trial, split.train, published, defense)
    trainer = way.train
    kind: type[Victim] = environment.registry().load("victims", trial.victim.name)
    if kind.learns in way.others:
        trainer, more = way.others[kind.learns], {**more, "clean": split.train}
    curves = trainer(
        victim,
        published,
        way.recipe(**trial.recipe),
        device=device,
        seed=derive(trial.seed, "train"),
        clock=clock,
        test=split.test,
        defense=defense,
        progress=progress,
        checkpoints=checkpoints,
        **more,
    )
    return Training(victim, curves, clock, made, noise, warnings, checkpoints.resumed)


def _held_out(
    trial: Trial, clean: ImageSet, published: Any, defense: Defense
) -> tuple[Any, dict[str, ImageSet]]:
    """(what is trained on, {"validation": images that choose the epoch, "clean": ones to learn from} or less)."""
    held, known = defense.held_out(len(clean)), defense.clean_images(len(clean))
    count = held + known
    if not count:
        return published, {}
    order = stratified(clean.labels, len(clean), derive(trial.seed, "clean images")).argsort(stable=True)
    if len(published) != len(clean) or count >= len(clean):
        raise ConfigError(
            f"{trial.defense.name} holds out {count} of {len(clean)} images, and leaves nothing sound to train on: "
            "hold out less, and use it where all images are published"
        )
    more = {}
    if held:
        more["validation"] = (clean if defense.holds_clean else published).take(order[:held].sort().values)
    if known:
        more["clean"] = clean.take(order[held:count].sort().values)
    return published.take(order[count:].sort().values), more


def build_victim(trial: Trial, environment: Environment, clock: Clock | None = None) -> nn.Module:
    """The trial's victim before its training; its operations count in the clock's phases."""
    train, name = environment.load(trial).train, trial.victim.name
    seed = derive(trial.seed, "victim")
    if trial.victim.parameters.get("init") == "surrogate":
        seed = surrogate_seed(derive(trial.seed, "protect"), name)
    return environment.build_victim(
        name,
        train.classes,
        train.image_size,
        seed,
        dict(trial.victim.parameters),
        clock=clock,
    )


def poisoned(
    trial: Trial, clean: ImageSet, perturbation: Perturbation
) -> tuple[Any, dict[str, float | int] | None]:
    """(the training set as published at the trial's ratio, measures of its noise or None without noise).

    The ratio is a share of images in either paradigm; the training set is what the paradigm's trainer takes.
    """
    way = WAYS[trial.paradigm]
    if trial.poison_ratio == 0:
        return way.unprotected(clean), None
    mask = draw_mask(trial, clean)
    if perturbation.budget.empty:  # nothing is added, so the share that others protect is withheld
        return way.unprotected(clean.take((~mask).nonzero()[:, 0])), None
    return way.publish(clean, perturbation, mask)


def draw_mask(trial: Trial, clean: ImageSet) -> Tensor:
    """bool [N]: the images that the trial protects, or withholds if its method does."""
    return poison_mask(clean.labels, len(clean), trial.poison_ratio, derive(trial.seed, "mask"))


def pack_mask(mask: Tensor) -> dict[str, Any]:
    """A mask as a record keeps it.

    Args:
        mask: bool [N].

    Returns:
        ``protected``, how many; ``bits``, base64 of the zlib-compressed ``numpy.packbits``; ``sha256``, 16 hexadecimal
        digits of the packed bits.
    """
    packed = np.packbits(mask.numpy()).tobytes()
    bits = base64.b64encode(zlib.compress(packed, 9)).decode()
    return {"protected": int(mask.sum()), "sha256": _fingerprint(packed), "bits": bits}


def unpack_mask(kept: Mapping[str, Any], count: int) -> Tensor:
    """bool [count]: the mask of a record, of so many images.

    Raises:
        StoreError: if it is damaged, or of another number of images.
    """
    try:
        packed = zlib.decompress(base64.b64decode(kept["bits"], validate=True))
    except (ValueError, zlib.error) as error:
        raise StoreError(f"the mask of a record is corrupt: {error}") from error
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if _fingerprint(packed) != kept["sha256"] or len(packed) != -(-count // 8):
        raise StoreError(f"the mask of a record is corrupt, or not of {count} images")
    return torch.from_numpy(bits[:count].astype(bool))


def _sources(trial: Trial, made: Mapping[str, Any], environment: Environment) -> dict[str, str]:
    """Hashes of the code that made the result; of the method, the code that made the noise, if that is known."""
    found = sources_of(trial, environment.registry())
    made_by = made.get("source")
    if made_by:
        return {**found, "method": str(made_by)}
    return {part: source for part, source in found.items() if part != "method"}


def _made_otherwise(trial: Trial, made: Mapping[str, Any], environment: Environment) -> list[str]:
    """How the making of the noise differs from what would be done now, in sentences."""
    found, before = [], made.get("device") or {}
    name, threads = trial.method.name, torch.get_num_threads()
    if made.get("source", now := environment.registry().source("methods", name)) != now:
        found.append(f"the code of the method {name} has changed since it made this noise")
    if (
        before.get("type") == "cpu"
        and environment.find_device().type == "cpu"
        and before["threads"] != threads
    ):
        found.append(
            f"the noise was made with {before['threads']} threads, its victim trained with {threads}"
        )
    return found


def _diagnosis(trial: Trial, notes: Mapping[str, Any], environment: Environment) -> dict[str, list[str]]:
    """The notes' remarks, and that of a victim whose results are diagnostic; {} for others."""
    chosen = trial.victim
    reason = environment.registry().create("victims", chosen.name, chosen.parameters).diagnostic
    return {"remarks": [*notes.get("remarks", []), reason]} if reason else {}


def _who(trial: Trial) -> str:
    """The content that runs while a victim is trained."""
    victim, defense = f"the victim {trial.victim.name}", trial.defense.name
    return victim if defense == "none" else f"{victim} or the defense {defense}"


def _kept_mask(trial: Trial, environment: Environment) -> dict[str, Any] | None:
    if not 0 < trial.poison_ratio < 1:
        return None
    return pack_mask(draw_mask(trial, environment.load(trial).train))


def _fingerprint(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:16]


def _with_protection(protection: Mapping[str, float], training: Mapping[str, float]) -> dict[str, float]:
    """Seconds by phase: prepare and protect are what the noise cost, once for all trials that share it."""
    return {**dict.fromkeys(("prepare", "protect", "train", "evaluate"), 0.0), **protection, **training}
