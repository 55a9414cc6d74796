"""Allocates room for decoded images: in memory if they are few, else in a file that the system pages in and out."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

import torch
from torch import Tensor

from ue_bench.data.locate import cache_root
from ue_bench.errors import DataError

IN_MEMORY = 2 * 2**30  # bytes; larger arrays are mapped to a file
GIB = 2**30


def allocate(count: int, height: int, width: int) -> Tensor:
    """uint8 [count, 3, height, width], not initialised.

    An array of more than ``IN_MEMORY`` bytes lies in a file beside the cache of decoded images, so that a
    dataset that is larger than memory can be decoded: its pages are written out when memory is short.
    The file is unlinked at once, so its room is freed together with the array.

    Raises:
        DataError: if there is no room for it; the message says how much is needed.
    """
    size = count * 3 * height * width
    if size <= IN_MEMORY:
        return torch.empty((count, 3, height, width), dtype=torch.uint8)
    folder = cache_root() / "decoded"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=folder, prefix=".unfinished-")
        try:
            with os.fdopen(handle, "wb") as file:
                _reserve(file.fileno(), size, folder)
            array = torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
        finally:
            with contextlib.suppress(OSError):  # systems that cannot remove a file in use keep it
                os.unlink(path)
    except OSError as error:
        free = f", {shutil.disk_usage(folder).free / GIB:.1f} GiB are free" if folder.is_dir() else ""
        raise DataError(
            f"{count:,} images of {width}x{height} pixels take {size / GIB:.1f} GiB, which {folder} has no "
            f"room for ({error.strerror or error}{free}). Set UE_BENCH_CACHE to a folder with twice as much, "
            "or take fewer images or a smaller image_size"
        ) from error
    return array.view(count, 3, height, width)


def _reserve(file: int, size: int, folder: os.PathLike[str]) -> None:
    """Claims the blocks now, because a disk that fills up later would kill the process without an error message."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    elif shutil.disk_usage(folder).free < size:
        raise OSError("the disk is too full")
    else:
        os.truncate(file, size)
