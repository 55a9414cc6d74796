"""Noise and prepared models as safetensors files: a JSON header, a checksum, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ue_bench.canonical import digest, dumps
from ue_bench.contracts.budget import Budget
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.data.tensors import content_hash
from ue_bench.errors import DamagedError
from ue_bench.trials.store import Store


def save_tensors(
    store: Store,
    folder: str,
    key: str,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    sealed: bool = True,
) -> None:
    """Writes tensors with facts about them, in one file, whole or not at all.

    Args:
        sealed: False for a file whose facts have a seal of their own, and that bears any name.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told: dict[str, Any] = json.loads(dumps({**facts, "checksum": content_hash(contiguous)}))
    if sealed:
        told["name"] = f"{folder}/{key}"
        told["seal"] = digest(told)
    header = {"facts": dumps(told)}

    def fill(path: Path) -> None:
        try:
            safetensors.torch.save_file(contiguous, path, header)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error  # a full disk, in this library's words

    store.write_file((folder, f"{key}.safetensors"), fill)


def load_tensors(
    store: Store, folder: str, key: str, renamed: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Reads tensors and facts, mapped to the file: they may exceed the memory, and changing them changes no file.

    Args:
        renamed: True to read a file that a person may have given another name.

    Returns:
        None if there are none.

    Raises:
        DamagedError: if the file or its facts were truncated or altered, or if it belongs under another name. Files of
            older versions hold neither their name nor a checksum of their facts, so these are not checked.
        StoreError: if it cannot be read.
    """
    name = store.path(folder, f"{key}.safetensors")
    with store.open_file(folder, f"{key}.safetensors") as path:
        if path is None:
            return None
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                facts = dict(json.loads(file.metadata()["facts"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except Exception as error:
            raise DamagedError(f"{name} is corrupt: {type(error).__name__}: {error}") from error
    if "seal" in facts and facts.pop("seal") != digest(facts):
        raise DamagedError(f"{name} is corrupt: its facts are not as they were written")
    if facts.pop("name", f"{folder}/{key}") != f"{folder}/{key}" and not renamed:
        raise DamagedError(f"{name} is corrupt: its content belongs to another name")
    if facts.pop("checksum", None) != content_hash(tensors):
        raise DamagedError(f"{name} is corrupt: its checksum does not match its content")
    return tensors, facts


def save_perturbation(store: Store, key: str, perturbation: Perturbation, facts: Mapping[str, Any]) -> None:
    """Keeps noise and how it was made (costs, notes, warnings)."""
    tensors = {"noise": perturbation.noise, "rows": perturbation.rows}
    if perturbation.trigger_tokens is not None:
        tensors["trigger_tokens"] = perturbation.trigger_tokens
    header: dict[str, Any] = {
        "budget": perturbation.budget,
        "triggers": perturbation.triggers,
        "facts": facts,
    }
    if perturbation.partial:
        header["partial"] = True
    save_tensors(store, "noise", key, tensors, header)


def load_perturbation(store: Store, key: str) -> tuple[Perturbation, dict[str, Any]] | None:
    """Noise and the facts kept with it; None if there is none, StoreError if the file is damaged."""
    loaded = load_tensors(store, "noise", key)
    if loaded is None:
        return None
    tensors, header = loaded
    budget = Budget(**{**header["budget"], "radius": float(header["budget"]["radius"])})
    triggers = tuple(header["triggers"]) if header["triggers"] is not None else None
    tokens = tensors.get("trigger_tokens")
    partial = header.get("partial", False)
    return Perturbation(tensors["noise"], tensors["rows"], budget, triggers, tokens, partial), header["facts"]
