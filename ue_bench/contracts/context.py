"""What the harness gives a method to work with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ue_bench.canonical import digest, writable
from ue_bench.clock import Clock
from ue_bench.data.cache import load_cached
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.seeds import derive


class Shelf(Protocol):
    """Where costly artefacts are kept for other methods and later runs; a store has one."""

    def load(self, key: str) -> tuple[Mapping[str, Tensor], Mapping[str, Any]] | None:
        """(tensors, facts) kept under ``key``, or None."""

    def save(self, key: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keeps them."""


def load_installed(name: str, image_size: int | None, parameters: Mapping[str, Any] | None = None) -> Split:
    """An installed dataset by name, decoded once a process; ``image_size`` in pixels, None: as stored."""
    return load_cached(_installed().create("datasets", name, dict(parameters or {})), name, image_size)


@functools.cache
def _installed() -> Registry:
    return Registry()


@dataclass
class Context:
    """Device, randomness, clock, progress and surrogates for one call of ``prepare`` or ``protect``.

    Attributes:
        device: where to compute.
        seed: the call's seed; ``generator`` starts from it.
        clock: ``with context.clock.phase("warmup")`` times a phase of its own.
        progress: ``for batch in context.progress.track(batches, "rounds")``.
        build_victim: (name, classes, image_size, seed, parameters) -> module on ``device``, from the victims
            registry; parameters may be left out.
        prepared: what ``prepare`` returned, loaded from the store.
        notes: facts about the run that belong into the record, such as rounds used or a step cap reached.
        warnings: sentences for the record and the table's foot.
        shelf: where ``keep`` keeps things; None: nowhere.
        data_key: of the training set, part of every key on the shelf.
        kept_keys: what ``keep`` gave out of the phase ``prepare``, so that reports count its cost once.
        shared_keys: what ``keep`` gave out of other phases, which several noises made from the same data share.
        load_dataset: (name, image_size, parameters) -> Split, from the datasets registry.
        public: what ``load_public`` gave out: (facts about it, its training set).
    """

    device: torch.device
    seed: int
    clock: Clock
    progress: Progress
    build_victim: Callable[..., nn.Module]
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    shelf: Shelf | None = None
    data_key: str = ""
    kept_keys: list[str] = field(default_factory=list)
    shared_keys: list[str] = field(default_factory=list)
    load_dataset: Callable[..., Split] = load_installed
    public: list[tuple[dict[str, Any], ImageSet]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def surrogate(
        self,
        name: str,
        classes: int,
        image_size: tuple[int, int],
        parameters: Mapping[str, Any] | None = None,
    ) -> nn.Module:
        """A freshly initialised model from the victims registry, channels-last, on the device, seeded.

        Args:
            name: a victim's; a contrastive one gives Towers.
            classes: of its logits; contrastive victims have none and ignore it.
            image_size: (height, width) in pixels.
            parameters: of the victim where they differ from its defaults, such as weights to load.
        """
        more = (dict(parameters),) if parameters else ()
        return self.build_victim(name, classes, image_size, derive(self.seed, "surrogate", name), *more)

    def load_public(
        self, name: str, image_size: int | None, parameters: Mapping[str, Any] | None = None
    ) -> Split:
        """A public dataset by name, for work that must not see the data to be protected.

        The record names it with its fingerprint, and warns where it overlaps with the data to be protected; the
        harness compares them, because a method without access to images cannot.

        Args:
            name: in the datasets registry.
            image_size: side in pixels, or None: as stored.
            parameters: of the dataset where they differ from its defaults.
        """
        split = self.load_dataset(name, image_size, dict(parameters or {}))
        facts = {
            "dataset": name,
            "parameters": dict(parameters or {}),
            "image_size": image_size,
            "train_fingerprint": split.train.fingerprint,
            "train_images": len(split.train),
        }
        if all(known != facts for known, _ in self.public):
            self.public.append((facts, split.train))
        return split

    def keep(
        self,
        what: Mapping[str, Any],
        make: Callable[[], Mapping[str, Tensor]],
        *,
        phase: str = "prepare",
    ) -> Mapping[str, Tensor]:
        """``make()``, or what an earlier call with an equal ``what`` made from the same data with the same seed.

        For work that several methods share, such as a surrogate trained on clean data. Its time counts as the
        phase in the record of every method that uses it, and once in totals.

        Args:
            what: everything beside data and seed that the result depends on.
            make: gives named tensors, such as a model's ``state_dict()``.
            phase: ``protect`` for all of a search for noise, of which more than one noise is made.
        """
        key = digest([what, self.data_key, self.seed])
        kept = self.shelf.load(key) if self.shelf else None
        if kept is None:
            before = self.clock.spent(phase)
            with self.clock.phase(phase):
                tensors = make()
            cost = [after - was for after, was in zip(self.clock.spent(phase), before, strict=True)]
            facts: Mapping[str, Any] = {"what": what, "seconds": cost[0], "device_seconds": cost[1]}
            if self.shelf:
                self.shelf.save(key, tensors, facts)
        else:
            tensors, facts = kept
            self.clock.add(phase, float(facts["seconds"]), float(facts["device_seconds"]))
        (self.kept_keys if phase == "prepare" else self.shared_keys).append(key)
        return tensors

    def numpy_seed(self) -> int:
        """A seed below 2**32 for libraries that take NumPy's."""
        return derive(self.seed, "numpy") % 2**32

    def warn(self, sentence: str) -> None:
        """Keeps a warning for the record (once)."""
        sentence = writable(sentence)
        if sentence not in self.warnings:
            self.warnings.append(sentence)
