"""What the harness gives and records behind one call of a method: surrogates, public data, shared work, warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from ue_bench.canonical import digest, plain
from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.errors import ConfigError, DataError

Kept = tuple[Mapping[str, Tensor], Mapping[str, Any]]  # tensors by name, facts about them


class Shelf(Protocol):
    """A place where costly artefacts are kept for other methods and later runs. Every store has one."""

    def load(self, key: str) -> Kept | None:
        """(tensors, facts) kept under ``key``, or None."""

    def save(self, key: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keeps them."""

    def claim(self, key: str) -> AbstractContextManager[None]:
        """A block in which nobody else makes them; whoever finds them being made elsewhere is sent away."""


def build_nothing(name: str, *what: Any) -> nn.Module:
    """Takes the place of the victims registry where there is none."""
    raise ConfigError(f"no victims can be built here, so there is no surrogate '{name}'")


def find_nothing(
    words: str, image_size: int | None, parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], Split]:
    """Takes the place of the datasets registry where there is none."""
    raise DataError(f"no public data can be loaded here: '{words}'")


@dataclass
class Ledger:
    """The harness's side of one call of ``prepare`` or ``protect``: methods reach it through their context only.

    Attributes:
        build_victim: (name, classes, image_size, seed, parameters, start) -> module on the device, from the
            victims registry; parameters and start may be left out.
        find_public: (words, image_size, parameters) -> (facts, Split), from the datasets registry.
        shelf: where shared work is kept, or None if it is not kept.
        data_key: the key of the training set and of how it is computed on, part of the key of all work that
            depends on it.
        prepare_keys: keys of shared work in the phase ``prepare``, so that reports count its cost once.
        protect_keys: keys of work in other phases, which several noises made from the same data share.
        public: (facts, training set) of each public dataset that was seen.
        warnings: sentences for the record and the foot of tables, each once.
        checkpoints: the states of long loops.
    """

    build_victim: Callable[..., nn.Module] = build_nothing
    find_public: Callable[..., tuple[dict[str, Any], Split]] = find_nothing
    shelf: Shelf | None = None
    data_key: str = ""
    prepare_keys: list[str] = field(default_factory=list)
    protect_keys: list[str] = field(default_factory=list)
    public: list[tuple[dict[str, Any], ImageSet]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def keep(
        self,
        what: Any,
        seed: int,
        make: Callable[[], Mapping[str, Tensor]],
        clock: Clock,
        phase: str,
        notes: dict[str, Any],
    ) -> Mapping[str, Tensor]:
        """The result of ``make()``, or an earlier one for the same ``what``, data and seed.

        The phase gets its cost, and ``notes`` what ``make`` noted, whoever made it.
        """
        key = digest([what, self.data_key, seed])
        kept = self.shelf.load(key) if self.shelf is not None else None
        if kept is None:
            with self.shelf.claim(key) if self.shelf is not None else nullcontext():
                kept = self.shelf.load(key) if self.shelf is not None else None  # made meanwhile
                if kept is None:
                    with self.checkpoints.of(f"prepared-{key}"):
                        tensors = self._make(key, what, make, clock, phase, notes)
        if kept is not None:
            tensors, told = kept
            share = float(told.get("share", 1.0))
            clock.add(phase, float(told["seconds"]), float(told["device_seconds"]), share)
            clock.add_flop(phase, told.get("flop"))
            notes.update(told.get("notes") or {})
        (self.prepare_keys if phase == "prepare" else self.protect_keys).append(key)
        return tensors

    def _make(
        self,
        key: str,
        what: Any,
        make: Callable[[], Mapping[str, Tensor]],
        clock: Clock,
        phase: str,
        notes: dict[str, Any],
    ) -> Mapping[str, Tensor]:
        before, noted = clock.spent(phase), dict(notes)
        earlier = clock.flop.pop(phase, {})
        with clock.phase(phase):
            tensors = make()
        flop = plain(clock.flop.get(phase, {}))
        clock.add_flop(phase, earlier)
        cost = [after - was for after, was in zip(clock.spent(phase), before, strict=True)]
        if self.shelf is not None:
            facts = {"what": what, "seconds": cost[0], "device_seconds": cost[1], "flop": flop}
            if phase in clock.shared:
                facts["share"] = clock.shared[phase]
            new = {name: note for name, note in notes.items() if name not in noted or noted[name] != note}
            self.shelf.save(key, tensors, {**facts, "notes": new} if new else facts)
        return tensors

    def note_public(self, facts: dict[str, Any], train: ImageSet) -> None:
        """Records a public training set, once."""
        if all(known != facts for known, _ in self.public):
            self.public.append((facts, train))
