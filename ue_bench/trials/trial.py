"""One cell of a benchmark, and the name that it has in the store."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ue_bench.canonical import digest_plain, plain
from ue_bench.trials.arithmetic import USUAL, Arithmetic


@dataclass(frozen=True)
class Choice:
    """A piece of content by name, with every one of its parameters.

    Attributes:
        name: of a method, victim, defense or dataset.
        parameters: all of them, defaults included, so that a changed default is a changed choice.
        version: of its behaviour, and of the files that it reads: ``Content.edition``.
    """

    name: str
    parameters: Mapping[str, Any]
    version: int | str = 1

    @functools.cached_property
    def told(self) -> dict[str, Any]:
        """It as plain JSON values, which the trials that share it share; nobody may change them."""
        told: dict[str, Any] = plain(self)
        return told


@dataclass(frozen=True)
class Trial:
    """One cell: dataset, method, victim, defense, ratio, seed, and all else that can change its result.

    Attributes:
        paradigm: supervised or contrastive.
        image_size: in pixels, or None for the size at which the dataset is stored.
        train_fingerprint: of the training set.
        test_fingerprint: of the test set.
        poison_ratio: share of the training images that are protected; 0 for a method without noise.
        recipe: every field of the victim's recipe.
        seed: from which every role's seed derives.
        threads, cpu_bf16, cuda_graphs: see ``Arithmetic``.
    """

    paradigm: str
    dataset: Choice
    image_size: int | None
    train_fingerprint: str
    test_fingerprint: str
    method: Choice
    victim: Choice
    defense: Choice
    recipe: Mapping[str, Any]
    poison_ratio: float
    seed: int
    threads: int = 1
    cpu_bf16: bool = False
    cuda_graphs: bool = False

    @property
    def arithmetic(self) -> Arithmetic:
        """How it is computed."""
        return Arithmetic(self.threads, self.cpu_bf16, self.cuda_graphs)

    @functools.cached_property
    def id(self) -> str:
        """A hash of all that can change the result. Paths are left out: their content is in the fingerprints."""
        config = self.config()
        return digest_plain({**config, "dataset": {**config["dataset"], "parameters": {}}})

    @functools.cached_property
    def noise_key(self) -> str:
        """A hash that is equal for all trials that use the same noise."""
        return key_of_noise(self.train_fingerprint, self.paradigm, self.method, self.seed, self.arithmetic)

    def config(self) -> dict[str, Any]:
        """The trial as plain JSON values; of its arithmetic, what is as usual is left out."""
        values = vars(self)
        config = {
            field.name: value.told if isinstance(value := values[field.name], Choice) else plain(value)
            for field in fields(self)
        }
        for name, value in vars(USUAL).items():
            if config[name] == value:
                del config[name]
        return config


def key_of_noise(data_key: str, paradigm: str, method: Choice, seed: int, arithmetic: Arithmetic) -> str:
    """A hash of all that can change noise; ``data_key`` is one of the data that it is made for."""
    return digest_plain([data_key, paradigm, method.told, seed, *arithmetic.of(method.parameters).told()])


def read_trial(config: Mapping[str, Any]) -> Trial:
    """A record's trial: what ``Trial.config`` gave."""
    choices = {name: Choice(**config[name]) for name in ("dataset", "method", "victim", "defense")}
    return Trial(**{**config, **choices})
