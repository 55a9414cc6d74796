"""Noise for pictures that are elsewhere: made from captions, kept in one file, read back with every check."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from ue_bench.canonical import digest, plain
from ue_bench.contracts.access import Access
from ue_bench.contracts.budget import Budget, steps
from ue_bench.contracts.method import Method
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.errors import ConfigError, DataError, StoreError, UEBenchError, unknown
from ue_bench.progress import Progress
from ue_bench.publish.header import check_header
from ue_bench.registry import Registry
from ue_bench.trials.arithmetic import USUAL, Arithmetic
from ue_bench.trials.artefacts import content_hash, save_tensors
from ue_bench.trials.claims import when_free
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import Made, prepare_key, run_method
from ue_bench.trials.overlap import caption_hashes, key_of, told_of_captions
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Choice, key_of_noise

KIND = "ue-bench noise"
SCHEMA = 1
HEADER = {
    "names": list[str],
    "image_size": list[int],
    "budget": dict,
    "method.name": str,
    "seed": int,
    "changed": dict,
    "summary": str,
    "warnings": list[str],
    "reduced": list[str],
}
PARADIGM = "contrastive"  # pictures with captions are what its methods protect
PER_PICTURE = ("image", "pair")  # granularities that give every picture a noise of its own


@dataclass(frozen=True, eq=False)
class NoiseFile:
    """Noise for named pictures, and how it was made.

    Attributes:
        noise: int8 (int16 where needed) [N, 3, H, W], steps of 1/255; read from the file as it is needed.
        names: names of the N pictures, as in the captions file.
        budget: the budget that every noise keeps.
        facts: method, seed, size, versions, the captions' hash and the rest of the file's header.
    """

    noise: Tensor
    names: tuple[str, ...]
    budget: Budget
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """Everything that can change the noise.

    Attributes:
        name: the method's name.
        method: the configured method, with one noise for each picture.
        captions: the captions of each picture, by the picture's name.
        image_size: (height, width) of the noise in pixels.
        seed: the seed from which the method's seeds derive.
        arithmetic: in which it is computed.
    """

    name: str
    method: Method
    captions: Mapping[str, tuple[str, ...]]
    image_size: tuple[int, int]
    seed: int
    arithmetic: Arithmetic = USUAL

    @property
    def captions_hash(self) -> str:
        """Changes with any name, caption or their order; the captions themselves are not in the noise file."""
        return digest(list(self.captions.items()))

    @property
    def choice(self) -> Choice:
        """The method with every parameter."""
        return Choice(self.name, plain(self.method.recorded(PARADIGM)), self.method.edition())

    @property
    def preparation(self) -> str:
        """The key of the method's preparation."""
        return prepare_key(self.choice, self.seed, self.method, self.arithmetic)

    @property
    def work(self) -> str:
        """The name under which a killed search keeps its state."""
        return f"noise-{key_of_noise(self.captions_hash, PARADIGM, self.choice, self.seed, self.arithmetic)}"

    @property
    def key(self) -> str:
        """A key that is equal for requests that give the same noise."""
        parts = [self.choice, self.captions_hash, self.image_size, self.seed]
        return digest([*parts, *self.arithmetic.of(self.choice.parameters).told()])


def choose_method(
    registry: Registry,
    name: str,
    parameters: Mapping[str, Any],
    epsilon: float | None = None,
    profile: str = "",
) -> Method:
    """The configured method, with one noise for each picture unless ``parameters`` say another granularity.

    Args:
        registry: the registry in which it is found.
        name: its name.
        parameters: the method's parameters.
        epsilon: linf radius, 8 or 8/255, or None for the method's own.
        profile: one of the method's presets, as suites use them; "" for the paper's settings.

    Raises:
        ConfigError: if it needs more than captions; the message says what, and names the methods that do not.
    """
    kind: type[Method] = registry.load("methods", name)
    reason = _shortfall(kind)
    if reason:
        others = _suitable(registry)
        raise ConfigError(
            f"{name} {reason}; methods that make noise from captions alone: {', '.join(others)}"
        )
    made = [word for word in PER_PICTURE if word in kind.granularities]
    if profile not in ("", "paper", *kind.presets):
        raise unknown(f"profile of method '{name}'", profile, ("paper", *kind.presets))
    preset = kind.presets.get(profile, {})
    method: Method = registry.create(
        "methods", name, {**preset, "granularity": made[0], **parameters}, PARADIGM
    )
    if method.granularity not in PER_PICTURE:
        raise ConfigError(
            f"{name}.granularity={method.granularity} gives several pictures one noise, which needs to know "
            f"which belong together; here every picture gets its own: {name}.granularity={made[0]}"
        )
    method = method if epsilon is None else method.with_epsilon(steps(epsilon))
    if method.budget.empty:
        raise ConfigError(
            f"{name} with the budget '{method.budget}' makes no noise: nothing would be protected"
        )
    return method


def _shortfall(kind: type[Method]) -> str:
    """Why a method cannot work without the pictures, or ""."""
    budget = next((field.default for field in dataclasses.fields(kind) if field.name == "budget"), None)
    if Access.IMAGES in kind.access:
        return "must see the pictures"
    if kind.withholds or (isinstance(budget, Budget) and budget.empty):
        return "makes no noise"
    if not set(PER_PICTURE) & set(kind.granularities):
        return f"makes one noise a {' or '.join(kind.granularities)}, not one a picture"
    needs = kind.access & (Access.LABELS | Access.CLASS_NAMES)
    # A contrastive method reads labels only to make class-wise noise.
    if needs and "contrastive" not in kind.paradigms:
        return f"needs {' and '.join(needs.words())}, which captions do not give"
    return ""


def _suitable(registry: Registry) -> list[str]:
    """Names of all methods that need no more than captions."""
    found = []
    for name in registry.names("methods"):
        try:
            if not _shortfall(registry.load("methods", name)):
                found.append(name)
        except UEBenchError:
            continue  # a broken plug-in is not offered; asking for it by name reports the reason
    return found


def make_noise(request: Request, environment: Environment, progress: Progress) -> NoiseFile:
    """Runs the method on the captions alone.

    Raises:
        PerturbationError: if the noise breaks a promise.
        ConfigError: if the method changes captions too.
    """
    method, name = request.method, request.name
    texts = tuple(request.captions.values())
    if method.granularity == "pair":
        texts = tuple(each[:1] for each in texts)  # a picture has one noise, made from its first caption
    if method.prepares:
        progress.say(_where_from(request, environment))
    view = ProtectorView.of_captions(texts, request.image_size, method.access, name)

    def make() -> Made:
        return run_method(request.choice, request.seed, view, request.captions_hash, environment, progress)

    made = when_free(make, progress.say)
    perturbation, shelf = made.perturbation, made.context.ledger.shelf
    for about in made.preparation.get("public_data", []):
        seen = shelf.load(key_of(about)) if shelf else None
        warning = told_of_captions(about, seen[0], caption_hashes(texts)) if seen else None
        if warning:
            made.context.warn(warning)
    cost = made.facts()
    if perturbation.triggers is not None:
        raise ConfigError(f"{name} also puts words before captions, which noise for pictures cannot carry")
    facts = {
        "kind": KIND,
        "schema": SCHEMA,
        "request": request.key,
        "names": list(request.captions),
        "captions_hash": request.captions_hash,
        "method": request.choice,
        "changed": {
            k: v for k, v in method.changed_parameters(PARADIGM).items() if k not in ("budget", "granularity")
        },
        "reduced": _reduced(method),
        "summary": environment.registry().find("methods", name).summary,
        "budget": perturbation.budget,
        "seed": request.seed,
        "image_size": list(request.image_size),
        "public_data": made.public_data,
        **{key: cost[key] for key in ("seconds", "notes", "warnings", "device", "versions", "commit")},
        **({"resumed": cost["resumed"]} if "resumed" in cost else {}),
    }
    return NoiseFile(
        _one_each(perturbation, view), tuple(request.captions), perturbation.budget, plain(facts)
    )


def _where_from(request: Request, environment: Environment) -> str:
    """One line that says whether the method's preparation is in the store, or else what making it now means."""
    store = environment.open_store()
    if request.preparation in store.names("prepared", ".safetensors"):
        return f"{request.name}: what it prepares once is in the store {environment.store}"
    return (
        f"{request.name}: what it prepares once is not in the store {environment.store} and is made now "
        f"(at the paper's settings: {request.method.cost}). Where it was made before: ue-bench export "
        f"method={request.name} out=FILE, then prepared=FILE here"
    )


def _reduced(method: Method) -> list[str]:
    """The parameters that have the value of one of the method's presets, which is below the paper's."""
    changed = method.changed_parameters(PARADIGM)
    small = [item for preset in method.presets.values() for item in preset.items()]
    free = method.variants | method.protect_only | {"granularity"}
    return [name for name, value in changed.items() if name not in free and (name, value) in small]


def _one_each(perturbation: Perturbation, view: ProtectorView) -> Tensor:
    """[N, 3, H, W]: the noise of each picture's first example."""
    pictures = view.image_of_example
    first = torch.searchsorted(pictures, torch.arange(int(pictures[-1]) + 1))
    rows = perturbation.rows[first]
    whole = torch.equal(rows, torch.arange(len(perturbation.noise)))
    return perturbation.noise if whole else perturbation.noise[rows]


def write_noise(path: Path, noise: NoiseFile) -> None:
    """Writes the file whole or not at all.

    Raises:
        StoreError: if it cannot be written.
    """
    facts = {**noise.facts, "seal": digest(noise.facts)}
    target = path.absolute()
    try:
        store = Store(target.parent.parent)
        save_tensors(store, target.parent.name, target.stem, {"noise": noise.noise}, facts, sealed=False)
    except StoreError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise StoreError(
            f"cannot write {path}: {reason}. Free the disk, or name another file: out=FILE"
        ) from error


def read_noise(path: Path) -> NoiseFile:
    """Reads a noise file, mapped into memory, and checks all of it.

    Raises:
        DataError: if the file does not exist, is of another kind, or is damaged.
        PerturbationError: if its noise breaks a promise.
    """
    if not path.is_file():
        raise DataError(
            f"no noise file '{path}'. Make one: ue-bench noise method=NAME captions=FILE out={path}"
        )
    try:
        with safetensors.safe_open(os.fspath(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except Exception as error:  # the reader raises errors of many types on damaged files
        raise DataError(
            f"'{path}' is damaged, or not a noise file: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(facts, dict) or facts.get("kind") != KIND or "noise" not in tensors:
        raise DataError(
            f"'{path}' was not written by ue-bench noise: it is something else in the same format"
        )
    check_header(facts, {"schema": int}, path)
    if facts["schema"] > SCHEMA:
        raise DataError(
            f"'{path}' was written by a newer ue-bench (schema {facts['schema']}): update ue-bench"
        )
    checksum, seal = facts.pop("checksum", None), facts.pop("seal", None)
    if seal != digest(facts) or checksum != content_hash(tensors):
        raise DataError(
            f"'{path}' is damaged: its checksum does not match its content. Copy or make it again"
        )
    check_header({"reduced": [], **facts}, HEADER, path)  # older files have no "reduced"
    noise, names = tensors["noise"], tuple(facts["names"])
    try:
        budget = Budget(**{**facts["budget"], "radius": float(facts["budget"]["radius"])})
        height, width = facts["image_size"]
        Perturbation(noise, torch.arange(len(names)), budget).check(len(names), (height, width))
    except UEBenchError:
        raise
    except Exception as error:  # a header made by hand can lead to errors of many types
        raise DataError(
            f"'{path}' is damaged, or was not written by ue-bench: {type(error).__name__}: {error}"
        ) from error
    return NoiseFile(noise, names, budget, facts)


def describe(noise: NoiseFile) -> str:
    """What is in the file, which method made it, and the method's warnings."""
    facts = noise.facts
    height, width = facts["image_size"]
    changed = ", ".join(f"{name}={value}" for name, value in facts["changed"].items())
    reduced = ", ".join(facts.get("reduced", []))
    lines = []
    if reduced:
        lines.append(
            f"ONLY A DEMONSTRATION, which most likely protects nothing: {reduced} below the paper's settings"
        )
    lines += [
        f"noise for {len(noise.names)} pictures, {height}x{width} pixels, {noise.budget}, seed {facts['seed']}",
        f"by {facts['method']['name']}{f' ({changed})' if changed else ''}: {facts['summary']}",
        *facts["warnings"],
    ]
    return "\n  ".join(lines)
