"""Decoded datasets, kept in this process and on disk, so that each is decoded once."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar, Protocol

import PIL
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ue_bench.canonical import digest
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.data.locate import cache_root
from ue_bench.data.room import IN_MEMORY
from ue_bench.errors import DataError

_FORMAT = 2  # raise it when files of an older layout must no longer be read
_KEPT_BYTES = 4 * 2**30  # bytes of images that this process keeps for reuse; the newest dataset always stays
_PARTS = ("train", "test")

_memory: OrderedDict[str, Split] = OrderedDict()
_known: dict[
    str, tuple[str, tuple[str, str]]
] = {}  # by key: name, and fingerprints of both parts as they were read
_lock = threading.RLock()
_warned: set[str] = set()


class Source(Protocol):
    """What the cache needs of a dataset; see ``ue_bench.Dataset``."""

    version: ClassVar[int]

    @property
    def name(self) -> str:
        """Its name on the command line."""

    def load(self, image_size: int | None) -> Split:
        """Decodes everything."""

    def source_state(self) -> object:
        """A cached decode is valid as long as this value is equal; None if that cannot be known."""

    def parameters(self) -> dict[str, Any]:
        """All parameters, besides the source, that the decoded images depend on."""


def load_cached(dataset: Source, image_size: int | None) -> Split:
    """A dataset's decoded images: from this process, from disk, or from its source (then kept in both).

    Every call returns the same tensors: copy them before changing anything. What is read from disk is memory-mapped,
    not loaded, so that datasets larger than memory work. The files lie in ``UE_BENCH_CACHE`` (or
    ``~/.cache/ue-bench``) under ``decoded``, and may be deleted at any time.

    Args:
        dataset: the source; if its ``source_state()`` is None, nothing is written to disk.
        image_size: side in pixels, or None: as stored.

    Raises:
        DataError: if the source is absent, incomplete or corrupt. A cache that cannot be read or written only
            causes a warning.
    """
    with _lock:
        name, state = dataset.name, dataset.source_state()
        key = _key(dataset, image_size, state)
        if key in _memory:
            _memory.move_to_end(key)
            return _memory[key]
        shut = state is not None and _shut(_path(name, key))
        split = _read(_path(name, key)) if state is not None and not shut else None
        if split is None:
            try:
                split = dataset.load(image_size)
            except MemoryError as error:
                raise DataError(
                    f"'{name}' does not fit into memory ({error}): take fewer images, or a smaller image_size="
                ) from error
            after = dataset.source_state()  # loading may have downloaded the files, or somebody changed them
            if after is not None and (state is None or after == state) and not shut:
                key = _key(dataset, image_size, after)
                _write(_path(name, key), split)
                if _bytes(split) > IN_MEMORY:  # the file is mapped, not loaded: it needs no memory of its own
                    split = _read(_path(name, key)) or split
        _keep(key, name, split)
        return split


def find_changes() -> list[str]:
    """Names the data that were changed in place since they were read, such as ``the test set of shapes``.

    Everything that this process holds is hashed again. Changed data are dropped, so that the next call reads the
    original.
    """
    with _lock:
        found = []
        for key, split in list(_memory.items()):
            name, prints = _known[key]
            changed = [
                f"the {word} set of {name}"
                for part, word, known in zip(_PARTS, ("training", "test"), prints, strict=True)
                if getattr(split, part).hash_content() != known
            ]
            for part in _PARTS:
                vars(getattr(split, part)).pop(
                    "pairs", None
                )  # derived from the captions, and computed again from them
            if changed:
                _drop(key)
            found += changed
        return found


def forget() -> None:
    """Drops the datasets that this process holds; the files stay."""
    with _lock:
        _memory.clear()
        _known.clear()


def _key(dataset: Source, image_size: int | None, state: object) -> str:
    """A hash of everything that can change the decoded arrays."""
    kind = type(dataset)
    return digest(
        {
            "format": _FORMAT,
            "name": dataset.name,
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "version": kind.version,
            "parameters": dataset.parameters(),
            "image_size": image_size,
            "state": state,
            "pillow": PIL.__version__,
        },
        length=32,
    )


def _path(name: str, key: str) -> Path:
    return cache_root() / "decoded" / f"{name}-{key}.safetensors"


def _keep(key: str, name: str, split: Split) -> None:
    _memory[key] = split
    _known[key] = name, (split.train.fingerprint, split.test.fingerprint)
    while len(_memory) > 1 and sum(map(_bytes, _memory.values())) > _KEPT_BYTES:
        _drop(next(iter(_memory)))


def _drop(key: str) -> None:
    del _memory[key], _known[key]


def _bytes(split: Split) -> int:
    return split.train.images.nbytes + split.test.images.nbytes


def _write(path: Path, split: Split) -> None:
    """Writes under a temporary name, then renames: a reader sees a whole file or none."""
    tensors: dict[str, torch.Tensor] = {}
    texts: dict[str, Any] = {}
    for part in _PARTS:
        images: ImageSet = getattr(split, part)
        tensors[f"{part}.images"] = images.images
        if images.labels is not None:
            tensors[f"{part}.labels"] = images.labels
        texts[part] = {
            "captions": images.captions,
            "class_names": images.class_names,
            "names": images.names,
            "checksum": images.fingerprint,
        }
    unfinished = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch(exist_ok=False)
        mode = unfinished.stat().st_mode  # the umask's; safetensors' own lets nobody else read the file
        save_file(_apart(tensors), unfinished, {"content": json.dumps(texts, ensure_ascii=False)})
        unfinished.chmod(mode)
        os.replace(unfinished, path)
    except Exception as error:  # safetensors reports a full disk with its own exception
        _warn_once(
            f"the decoded images cannot be kept in {path.parent} ({error}); every run decodes them again. Set "
            "UE_BENCH_CACHE to a folder that can be written",
            str(path.parent),
        )
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, contiguous and without shared memory, as safetensors needs them."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        alone = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        apart[name] = tensor.contiguous() if alone else tensor.clone(memory_format=torch.contiguous_format)
    return apart


def _shut(path: Path) -> bool:
    """True, with a warning, if the file exists and this user may not read it: it is somebody else's, and stays."""
    if not path.is_file() or os.access(path, os.R_OK):
        return False
    _warn_once(
        f"permission denied: the cache file {path} belongs to another user, and you may not read it; its images are "
        "decoded without it. Ask for read permission, or set UE_BENCH_CACHE to a folder of your own",
        str(path),
    )
    return True


def _read(path: Path) -> Split | None:
    """What the file holds; None if it is absent, or damaged, which causes a warning."""
    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            texts = json.loads(file.metadata()["content"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        train, test = (_image_set(part, tensors, texts[part]) for part in _PARTS)
        return Split(train, test)
    except Exception as error:  # whatever the defect is, decode again
        _warn_once(
            f"the cache file {path} is damaged or out of reach ({error}); its images are decoded again",
            str(path),
        )
        return None


def _image_set(part: str, tensors: dict[str, torch.Tensor], texts: dict[str, Any]) -> ImageSet:
    captions, names, own = texts["captions"], texts["class_names"], texts.get("names")
    images = ImageSet(
        images=tensors[f"{part}.images"],
        labels=tensors.get(f"{part}.labels"),
        captions=None if captions is None else tuple(map(tuple, captions)),
        class_names=None if names is None else tuple(names),
        names=None if own is None else tuple(own),
    )
    if images.fingerprint != texts["checksum"]:
        raise DataError(f"the checksum of the {part} images does not match")
    return images


def _warn_once(message: str, about: str) -> None:
    if about not in _warned:
        _warned.add(about)
        warnings.warn(message, RuntimeWarning, stacklevel=4)
