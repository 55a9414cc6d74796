"""The trial that is to be explained: found in a store, with its record, its data and its noise."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ue_bench.contracts.perturbation import Perturbation
from ue_bench.data.imageset import Split
from ue_bench.dimensions import trial_in_words
from ue_bench.errors import ConfigError, DataError, StoreError, some
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import draw_mask, unpack_mask
from ue_bench.trials.noise import check_noise
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Trial, read_trial

SHOWN = 12  # trials that an error message lists


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished trial and what it was made of.

    Attributes:
        record: the trial's record.
        trial: the trial that the record describes.
        split: the trial's data, checked to be unchanged.
        perturbation: its noise; all zeros for a trial without noise.
        device: the device to compute on.
    """

    record: Mapping[str, Any]
    trial: Trial
    split: Split
    perturbation: Perturbation
    device: torch.device

    @property
    def title(self) -> str:
        """The trial in words."""
        return trial_in_words(self.record)

    @functools.cached_property
    def protected(self) -> Tensor:
        """int64 [k]: the training examples (images, or pairs) that are published with noise.

        The record's mask says which. Records of older runs have no mask, so it is drawn again.
        """
        train, trial = self.split.train, self.trial
        if trial.poison_ratio == 0 or self.perturbation.budget.empty:
            return torch.empty(0, dtype=torch.int64)
        kept = self.record.get("mask")
        mask = unpack_mask(kept, len(train)) if kept else draw_mask(trial, train)
        return (mask if trial.paradigm == "supervised" else mask[train.pairs]).nonzero()[:, 0]


def find_record(store: Store, word: str) -> dict[str, Any]:
    """The record of the finished trial whose id is ``word`` or begins with it.

    Raises:
        ConfigError: if no trial or several trials match, or if the trial has failed or is still to be run.
    """
    planned = {entry["id"]: entry for plan in store.read_plans() for entry in plan["trials"]}
    known = sorted({*planned, *store.names("trials", ".json")})
    found = [word] if word in known else [key for key in known if key.startswith(word)]
    if len(found) != 1:
        fault = f"{len(found)} trials begin with '{word}'" if found else f"there is no trial '{word}'"
        raise ConfigError(f"{fault} in store {store.address}: {_listed(found or known, planned)}")
    record = store.read_record(found[0])
    if record is None:
        raise ConfigError(
            f"trial {found[0]} is planned in store {store.address}, but it has no readable record yet: "
            "run its suite again in this store"
        )
    if record["status"] == "failed":
        raise ConfigError(
            f"trial {found[0]} failed ({record['error']['message']}), so there is no victim to explain: "
            "run its suite again in this store"
        )
    return record


def load_subject(record: Mapping[str, Any], environment: Environment) -> Subject:
    """The trial of a record with its data and its noise.

    Raises:
        StoreError: if the noise is not in the store.
        DataError: if the data is absent, or no longer what the trial saw.
    """
    trial, store = read_trial(record["config"]), environment.open_store()
    kept = load_perturbation(store, trial.noise_key)
    if kept is None:
        raise StoreError(
            f"the noise {trial.noise_key} of trial {trial.id} is not in store {store.address}: it was removed, or only "
            f"the records were copied. Delete trials/{trial.id}.json and run the suite again in this store"
        )
    split = environment.load(trial)
    for part, data, wanted in (
        ("training", split.train, trial.train_fingerprint),
        ("test", split.test, trial.test_fingerprint),
    ):
        if data.fingerprint != wanted:
            raise DataError(
                f"the {part} set of {trial.dataset.name} has the fingerprint {data.fingerprint}, the trial saw "
                f"{wanted}: its content has changed since, so this victim cannot be shown on it"
            )
    check_noise(kept[0], trial, environment)
    return Subject(record, trial, split, kept[0], environment.find_device())


def _listed(keys: list[str], planned: Mapping[str, Mapping[str, Any]]) -> str:
    if not keys:
        return "it holds none. See: ue-bench run suite=NAME"
    words = [f"{key} is {trial_in_words(planned[key])}" if key in planned else key for key in keys]
    return some(words, SHOWN, "; ")
