"""Reads arrays in .npy, .npz, .pt and .safetensors files. Nothing that could run code is unpickled."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from ue_bench.errors import ConfigError, DataError, some, unknown

from .found import Found

ROWS = "rows"  # name of the array that says which noise each example gets, as in ue-bench's stores


def read_array(path: Path, key: str) -> Found:
    """The array of a file that holds one, or the one called ``key``.

    Raises:
        DataError: if the file is damaged or holds more than arrays of numbers.
        ConfigError: if it holds several arrays and ``key`` is empty, or no array of that name.
    """
    try:
        content = READERS[path.suffix.lower()](path)
    except DataError:
        raise
    except Exception as error:  # each library has its own errors for a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise DataError(f"'{path}' cannot be read ({reason}): it is damaged, or something else") from error
    return _choose(path, {name: _plain(path, name, value) for name, value in content.items()}, key)


def _choose(path: Path, arrays: Mapping[str, np.ndarray], key: str) -> Found:
    if key and key not in arrays:
        raise unknown(f"array in {path.name}", key, arrays)
    large = [name for name, array in arrays.items() if array.ndim >= 3]
    if not key and len(large) != 1:
        kinds = [f"{name or 'array'} {array.dtype} {list(array.shape)}" for name, array in arrays.items()]
        listed = some(kinds, 5)
        if not large:
            raise DataError(
                f"'{path}' holds no noise and no images: {listed or 'nothing'}. Needed is one array [R, 3, H, W]"
            )
        raise ConfigError(
            f"'{path}' holds {len(large)} arrays of images or noise: {listed}. Say which: file.key={large[0]}"
        )
    name = key or large[0]
    rows = arrays.get(ROWS) if name != ROWS else None
    rows = rows if rows is not None and rows.ndim == 1 and rows.dtype.kind in "iu" else None
    return Found(f"{path.name}[{name}]" if name else path.name, arrays[name], rows)


def _read_npy(path: Path) -> dict[str, Any]:
    try:
        return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
    except ValueError as error:
        raise _pickled(path, error) from error


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        try:
            return {name: file[name] for name in file.files}
        except ValueError as error:
            raise _pickled(path, error) from error


def _read_pt(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused below, in plain words
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _pickled(path, error) from error
    if isinstance(content, Mapping):
        return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not isinstance(content, torch.Tensor):
        raise DataError(
            f"'{path}' holds a {type(content).__name__}; needed is one tensor, or a dictionary of tensors: "
            "torch.save(noise, PATH)"
        )
    return {"": content}


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


READERS = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pt": _read_pt,
    ".pth": _read_pt,
    ".safetensors": _read_safetensors,
}


def _pickled(path: Path, error: Exception) -> DataError:
    if not any(word in str(error).lower() for word in ("pickle", "weights", "python objects")):
        reason = " ".join(str(error).split())[:160]
        return DataError(f"'{path}' cannot be read ({reason}): it is damaged, or something else")
    return DataError(
        f"'{path}' holds pickled Python objects, which can run any code and are never loaded: save the noise alone, as "
        "numpy.save(PATH, noise) or torch.save(noise_tensor, PATH) does"
    )


def _plain(path: Path, name: str, value: Any) -> np.ndarray:
    """The array as a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return value
