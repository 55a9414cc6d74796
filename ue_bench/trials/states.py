"""The states of long loops as files of the store. They hold tensors and plain values, and reading them runs no code."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ue_bench.errors import DamagedError, StoreError
from ue_bench.trials.store import Store

FOLDER = "checkpoints"
SUFFIX = ".pt"


@dataclass(frozen=True)
class States:
    """A store's ``checkpoints/``: one file per loop, ``WORK.LOOP.pt``."""

    store: Store

    def load(self, name: str, device: torch.device) -> dict[str, Any] | None:
        """The state of that name, its tensors on the CPU or ``device`` as they were; None if there is none.

        Raises:
            DamagedError: if the file was truncated or altered, or belongs under another name.
            StoreError: if it cannot be read.
        """
        place = self.store.path(FOLDER, name + SUFFIX)
        with self.store.open_file(FOLDER, name + SUFFIX) as path:
            if path is None:
                return None
            try:
                with zipfile.ZipFile(path) as file:
                    broken = file.testzip()  # torch does not check the checksums
                home = functools.partial(_home, device=device)
                state = torch.load(path, home, weights_only=True) if broken is None else {}
            except Exception as error:
                raise DamagedError(
                    f"the checkpoint {place} is damaged: {type(error).__name__}: {error}"
                ) from error
        if broken is not None:
            raise DamagedError(f"the checkpoint {place} is damaged: a checksum does not match its content")
        if not isinstance(state, dict) or state.pop("name", None) != name:
            raise DamagedError(f"the checkpoint {place} is damaged: its content belongs to another name")
        return state

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Writes a state whole or not at all.

        Raises:
            StoreError: if it cannot be written, or holds what could not be read again.
        """
        self.store.write_file((FOLDER, name + SUFFIX), lambda path: _write(path, {**state, "name": name}))

    def remove(self, work: str) -> None:
        """Removes the states of a piece of work.

        Raises:
            StoreError: if that is not possible.
        """
        for name in self.store.names(FOLDER, SUFFIX):
            if name.startswith(f"{work}."):
                self.store.delete(FOLDER, name + SUFFIX)


def _write(path: Path, state: Mapping[str, Any]) -> None:
    try:
        torch.save(state, path)
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except RuntimeError as error:
        raise OSError(str(error)) from error  # a full disk, in this library's words
    if foreign:
        raise StoreError(
            f"it would hold {', '.join(sorted(foreign))}, and may hold tensors, numbers, text, lists and dictionaries"
        )


def _home(storage: Any, location: str, device: torch.device) -> Any:
    """The storage on the CPU, or on this run's accelerator, whose number may have changed."""
    return (
        storage if location == "cpu" else torch.serialization.default_restore_location(storage, str(device))
    )
