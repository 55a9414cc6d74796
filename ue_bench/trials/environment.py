"""What a worker needs beside the trial itself: store, device, plug-ins. It is small and can be sent to any process."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from ue_bench.canonical import digest
from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.config import parse_words
from ue_bench.data.cache import load_cached
from ue_bench.data.imageset import Split
from ue_bench.data.locate import cache_root
from ue_bench.errors import ConfigError
from ue_bench.provenance import commit, find_device, versions
from ue_bench.registry import Registry
from ue_bench.training.flop import watch
from ue_bench.training.starts import begin
from ue_bench.trials.arithmetic import Arithmetic, arithmetic_on
from ue_bench.trials.claims import Claims
from ue_bench.trials.states import States
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Trial


@dataclass(frozen=True)
class Environment:
    """Where trials are worked on.

    Attributes:
        store: its address.
        device: as configured, such as ``auto``.
        plugins: files and folders with more content.
        threads: to compute with.
        cpu_bf16, cuda_graphs: see ``Arithmetic``; a trial's own have precedence.
        owner: a word that all processes of one run share, in whose name they claim work; "": each its own.
        checkpoint_minutes: from one state of a long loop that is kept to the next; 0: none is kept.
    """

    store: str
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    threads: int = 1
    owner: str = ""
    checkpoint_minutes: float = 0.0
    cpu_bf16: bool = False
    cuda_graphs: bool = False

    def open_store(self) -> Store:
        """The store."""
        return Store(self.store)

    def claims(self) -> Claims:
        """The claims of this process, see ``claims``."""
        return _claims(self.store, self.owner)

    def checkpoints(self, work: str, code: Any, clock: Clock) -> Checkpoints:
        """The states of long loops of a piece of work.

        Args:
            work: its name: ``trial-ID``, ``noise-KEY`` or ``prepared-KEY``.
            code: hashes of the content that does it.
            clock: of the work.
        """
        if not self.checkpoint_minutes:
            return Checkpoints()
        code = digest([code, versions(), commit()])
        return Checkpoints(States(self.open_store()), clock, work, self.checkpoint_minutes, code)

    def remove_checkpoints(self, work: str) -> None:
        """Removes the states of work that has ended."""
        States(self.open_store()).remove(work)

    def find_device(self) -> torch.device:
        """The device to compute on."""
        return find_device(self.device)

    @property
    def arithmetic(self) -> Arithmetic:
        """What stands in ids and keys of how is computed here."""
        return arithmetic_on(self.find_device(), self.threads, self.cpu_bf16, self.cuda_graphs)

    def as_planned(self, trial: Trial) -> Self:
        """This environment with the arithmetic of a trial, which was decided when its run was planned."""
        return dataclasses.replace(self, cpu_bf16=trial.cpu_bf16, cuda_graphs=trial.cuda_graphs)

    def registry(self) -> Registry:
        """All content, read once a process."""
        return _registry(self.plugins)

    def load(self, trial: Trial) -> Split:
        """The trial's dataset, decoded once a process."""
        return self.load_dataset(trial.dataset.name, trial.image_size, trial.dataset.parameters)

    def load_dataset(
        self, name: str, image_size: int | None, parameters: Mapping[str, Any] | None = None
    ) -> Split:
        """Any dataset by name, decoded once a process; ``image_size`` in pixels, None: as stored."""
        return load_cached(self.registry().create("datasets", name, parameters), image_size)

    def find_public(
        self, words: str, image_size: int | None, parameters: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Split]:
        """(facts for records, the data) of a dataset that a method learns from, see ``Context.load_public``."""
        try:
            name, *settings = shlex.split(words)
        except ValueError as error:
            raise ConfigError(
                f"public data must be NAME or 'NAME parameter=value ...', not {words!r}: {error or 'no name'}"
            ) from None
        given = {**parse_words(settings), **parameters}
        split = self.load_dataset(name, image_size, given)
        facts = {
            "dataset": name,
            "parameters": given,
            "image_size": image_size,
            "train_fingerprint": split.train.fingerprint,
            "train_images": len(split.train),
        }
        return facts, split

    def build_victim(
        self,
        name: str,
        classes: int,
        image_size: tuple[int, int],
        seed: int,
        parameters: dict | None = None,
        start: str = "",
        clock: Clock | None = None,
    ) -> nn.Module:
        """A seeded, freshly initialised victim on the device, channels-last.

        Args:
            clock: counts the operations of its calls by phase; or None.
            start: of an image classifier that serves as a surrogate; "": the victim's own parameter decides.
        """
        victim = self.registry().create("victims", name, parameters)
        usual = getattr(victim, "start", "own")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = victim.build(classes, image_size)
            begin(model, (start or usual) if "supervised" in victim.paradigms else usual)
        model = model.to(self.find_device()).to(memory_format=torch.channels_last)
        if clock is not None:
            watch(model, [name, parameters, classes], image_size, clock)
        return model


@functools.lru_cache(maxsize=8)
def _claims(address: str, owner: str) -> Claims:
    """Beside the results; where these lie in a bucket, which cannot hold claims, in a folder of this machine."""
    store = Store(address)
    if store.local:
        return Claims(Path(store.path("claims")), owner)
    return Claims(cache_root() / "claims" / digest(address), owner)


@functools.lru_cache(maxsize=4)
def _registry(plugins: tuple[str, ...]) -> Registry:
    return Registry(plugins)
