"""A method's preparation as one file, to be taken from the machine that made it to one that makes noise with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ue_bench.canonical import plain
from ue_bench.contracts.method import Method
from ue_bench.errors import ConfigError, DataError, StoreError
from ue_bench.publish.header import check_header
from ue_bench.trials.artefacts import load_tensors, save_tensors
from ue_bench.trials.store import Store

KIND = "ue-bench preparation"
HEADER = {
    "method.name": str,
    "method.parameters": dict,
    "seed": int,
    "seconds": dict,
    "public_data": list[dict],
    "prepare_key": str,
}


@dataclass(frozen=True, eq=False)
class Preparation:
    """What a method prepared once, such as a trained generator.

    Attributes:
        tensors: the tensors that the method's ``prepare`` returned.
        facts: the method with its parameters, the seed, the cost, and the public data that it learned from.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.facts["method"]["name"])

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters with which the method prepared it."""
        return dict(self.facts["method"]["parameters"])

    @property
    def seed(self) -> int:
        """The seed with which it was made; noise is made from it with the same seed."""
        return int(self.facts["seed"])

    @property
    def key(self) -> str:
        """Its key in the store that it comes from."""
        return str(self.facts["prepare_key"])

    def describe(self) -> str:
        """Its method, seed, data and cost in words."""
        about = [
            f"{each.get('dataset')} ({each.get('train_images')} images)" for each in self.facts["public_data"]
        ]
        hours = float(self.facts["seconds"].get("prepare", 0)) / 3600
        learned = f"learned from {', '.join(about) or 'no data'} in {hours:.3g} h"
        return f"{self.method}, seed {self.facts['seed']}, {learned}"

    def put(self, store: Store, key: str) -> None:
        """Puts it into a store, where runs and ``ue-bench noise`` look for it, unless it is there already."""
        if load_tensors(store, "prepared", key) is None:
            save_tensors(store, "prepared", key, self.tensors, {**self.facts, "prepare_key": key})


def list_preparations(store: Store, name: str, keys: Iterable[str]) -> list[Preparation]:
    """A method's preparations among a store's artefacts with these keys."""
    found = []
    for key in keys:
        loaded = load_tensors(store, "prepared", key)
        if loaded and (loaded[1].get("method") or {}).get("name") == name and "prepare_key" in loaded[1]:
            found.append(Preparation(*loaded))
    return found


def ways_to_prepare(
    kind: type[Method], name: str, command: str, store: Store, keys: Mapping[str, str]
) -> ConfigError:
    """The error for a method whose costly preparation is not in the store and was not asked for.

    Args:
        kind: the method's class, which states the cost of preparing by profile.
        name: the method's name.
        command: the command that was typed, without a profile.
        store: the store in which preparations are kept.
        keys: profile -> key of the preparation that would be made with it.
    """
    there = list_preparations(store, name, store.names("prepared", ".safetensors"))
    at_hand = {each.key: each for each in there}
    lines = [
        f"{name} makes noise with what it prepares once, and store {store.address} holds nothing that was prepared "
        "with these settings. Nothing was downloaded or trained. Say how:"
    ]
    for profile, price in kind.preparations.items():
        ready = at_hand.pop(keys[profile], None)
        price = f"is in the store already ({ready.describe()})" if ready else price
        lines += [f"  profile={profile}: {price}", f"      {command} profile={profile}"]
    for key, each in at_hand.items():
        lines += [
            f"  in the store, prepared with other settings: {each.describe()}",
            f"      ue-bench export method={name} store={store.address} key={key} out={name}.safetensors",
            f"      {command} prepared={name}.safetensors",
        ]
    lines += [
        "  prepared elsewhere (there: ue-bench export), as a file:",
        f"      {command} prepared=FILE.safetensors",
    ]
    return ConfigError("\n".join(lines))


def find_preparation(store: Store, name: str, wanted: str | None = None) -> Preparation:
    """The preparation that a method made in a store.

    Args:
        store: the store in which runs kept it.
        name: the method's name.
        wanted: the preparation's key, or None if there is only one.

    Raises:
        ConfigError: if there is none, or if there are several and no key is given.
    """
    found = list_preparations(store, name, [wanted] if wanted else store.names("prepared", ".safetensors"))
    if len(found) == 1:
        return found[0]
    if not found:
        which = f" {wanted}" if wanted else ""
        raise ConfigError(
            f"{name} has prepared nothing{which} in store {store.address} (or an older ue-bench did): run a suite "
            "with it there, or make noise with it"
        )
    listed = "; ".join(f"key={each.key} is {each.describe()}" for each in found)
    raise ConfigError(f"{name} has prepared several things in store {store.address}, say which: {listed}")


def write_preparation(path: Path, preparation: Preparation) -> None:
    """Writes the file whole or not at all.

    Raises:
        StoreError: if it cannot be written.
    """
    target = path.absolute()
    facts = {**preparation.facts, "kind": KIND}
    save_tensors(Store(target.parent.parent), target.parent.name, target.stem, preparation.tensors, facts)


def read_preparation(path: Path) -> Preparation:
    """Reads the file, mapped into memory, and checks all of it.

    Raises:
        DataError: if the file does not exist, is of another kind, or is damaged.
    """
    if not path.is_file():
        raise DataError(
            f"no file '{path}'. Make one where it was trained: ue-bench export method=NAME out={path}"
        )
    if path.suffix != ".safetensors":
        raise DataError(f"'{path}' was not written by ue-bench export, whose files end in .safetensors")
    target = Path(os.path.abspath(path))
    try:
        loaded = load_tensors(Store(target.parent.parent), target.parent.name, target.stem, renamed=True)
    except StoreError as error:
        raise DataError(
            f"'{path}' is damaged, or was not written by ue-bench export: {error}. Copy or make it again"
        ) from error
    if loaded is None or loaded[1].get("kind") != KIND:
        raise DataError(
            f"'{path}' was not written by ue-bench export: it is something else in the same format"
        )
    check_header(loaded[1], HEADER, path)
    return Preparation(loaded[0], {name: value for name, value in loaded[1].items() if name != "kind"})


def check_settings(preparation: Preparation, method: Method) -> None:
    """Raises ConfigError if the method's settings differ from those with which it prepared."""
    before = preparation.parameters
    now = plain(method.recorded("contrastive"))
    free = method.protect_only | method.files  # a file may lie elsewhere; the edition covers its content
    changed = [name for name in now if name not in free and now[name] != before.get(name)]
    now["version"], before["version"] = method.edition(), preparation.facts["method"].get("version")
    changed += ["version"] if now["version"] != before["version"] else []
    if changed:
        values = ", ".join(f"{name}={now[name]} (prepared: {before.get(name)})" for name in changed)
        raise ConfigError(
            f"what {preparation.method} prepared does not fit its settings here: {values}. Leave them out"
        )
