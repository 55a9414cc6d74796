"""Reads protected pictures from a folder or a Parquet file, in the order of the training set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ue_bench.data.decode import decode_all
from ue_bench.data.files import File, connect, list_tree
from ue_bench.data.parquet import read_parquet
from ue_bench.errors import DataError, some

from .found import Found

Key = TypeVar("Key", bound=Hashable)
HIDDEN = ("thumbs.db", "desktop.ini", "__macosx")


def read_parquet_pictures(path: Path, key: str) -> Found:
    """The pictures in a Parquet file's column ``key`` ("": image), one per row, in order."""
    system, address = connect(str(path))
    data = read_parquet([File(system, address)], None, key or "image", "")
    return Found(path.name, data.images.numpy(), matched="by order")


def read_folder(path: Path, count: int, names: Sequence[str] | None) -> Found:
    """The pictures below a folder.

    They are matched by name if the training set has names and any of them is in the folder; by number if the files'
    names are numbers from 0 or 1; else by order.

    Args:
        path: the folder.
        count: the number of training images.
        names: names of the training images, such as ``cat/0001.png``; suffixes need not be the same.

    Raises:
        DataError: if pictures are missing or too many, naming them, or cannot be decoded.
    """
    system, root = connect(str(path))
    files = {
        name: file
        for name, file in list_tree(system, root).items()
        if not any(part.startswith(".") or part.lower() in HIDDEN for part in name.split("/"))
    }
    if not files:
        raise DataError(f"'{path}' holds no pictures: needed is one for each of the {count} training images")
    order, matched = _match(path, list(files), count, names)
    payloads = ((name, files[name].read) for name in order)
    images = decode_all(payloads, count, None, str(path))
    return Found(path.name, images.numpy(), matched=matched)


def _match(path: Path, files: list[str], count: int, names: Sequence[str] | None) -> tuple[list[str], str]:
    """(the files in the order of the training set, how they were matched)."""
    if names is not None:
        there = {_stem(name): name for name in files}
        wanted = [_stem(name) for name in names]
        if not there.keys().isdisjoint(wanted):
            full = dict(zip(wanted, names, strict=True))
            _check_complete(path, {**full, **there}, list(there), wanted)
            return [there[name] for name in wanted], "by name"
    numbers = {int(stem): name for name in files if (stem := PurePosixPath(name).stem).isdecimal()}
    if len(numbers) == len(files):
        first = 1 if 0 not in numbers and (count in numbers or len(files) == count) else 0
        expected = range(first, first + count)
        full = {
            number: numbers.get(number) or _name_like(numbers, number) for number in (*expected, *numbers)
        }
        _check_complete(path, full, list(numbers), expected)
        return [numbers[number] for number in expected], "by number"
    if len(files) != count:
        raise DataError(
            f"'{path}' holds {len(files)} pictures, the training set {count} images, and names do not tell which "
            "belong together: call the pictures as the clean ones are called, or 0.png to "
            f"{count - 1}.png in the training set's order"
        )
    return sorted(files), "by order"


def _name_like(numbers: Mapping[int, str], number: int) -> str:
    """How the picture of a number would be called: as that of the nearest number, with as many digits."""
    other = PurePosixPath(numbers[min(numbers, key=lambda each: abs(each - number))])
    padded = any(PurePosixPath(name).stem.startswith("0") for each, name in numbers.items() if each)
    return str(other.with_name(str(number).zfill(len(other.stem) if padded else 0) + other.suffix))


def _check_complete(path: Path, full: Mapping[Key, str], there: Sequence[Key], wanted: Sequence[Key]) -> None:
    """Raises DataError, with the names of files from ``full``, unless the keys ``there`` are those that are wanted."""
    known, needed = set(there), set(wanted)
    missing = [full[key] for key in wanted if key not in known]
    surplus = [full[key] for key in there if key not in needed]
    if missing:
        raise DataError(
            f"'{path}' lacks {len(missing)} of {len(wanted)} pictures of the training set: {some(missing, 5)}"
            + (f"; it holds others instead: {some(surplus, 5)}" if surplus else "")
        )
    if surplus:
        raise DataError(
            f"'{path}' holds {len(surplus)} pictures that are not in the training set: {some(surplus, 5)}. "
            "Take them away"
        )


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
