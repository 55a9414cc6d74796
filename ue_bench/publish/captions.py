"""Pictures by name: the names in a captions file, and the noise that a file in a folder gets."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Sequence

from ue_bench.data.captions_csv import read_rows
from ue_bench.data.decode import faulty
from ue_bench.data.files import find_files
from ue_bench.errors import DataError

MATCHES = ("name", "stem")


def read_captions(path: str) -> dict[str, tuple[str, ...]]:
    """The captions of each picture, by its path within the folder of pictures, in the order of their first rows.

    Args:
        path: a CSV file whose first line names the columns ``image`` and ``caption``; any number of rows per picture.

    Raises:
        DataError: if it cannot be read; it names every line without an image or caption, and every line whose image
            is not a path within a folder.
    """
    files = find_files("", path)
    if len(files) != 1:
        raise DataError(
            f"'{path}' fits {len(files)} files; name one CSV file with the columns image and caption"
        )
    faults: list[str] = []
    rows = read_rows(files[0], faults)
    count = len(rows) + len(faults)
    captions: dict[str, list[str]] = {}
    for row in rows:
        name = normal_name(row.image)
        if re.match(r"/|\.\./|[A-Za-z]:/|\w+:/", name) or name in (".", ".."):
            faults.append(f"line {row.line} ({row.image}: no path within a folder)")
        captions.setdefault(name, []).append(row.caption)
    if faults:
        raise faulty(faults, count, "rows", f"'{path}'", "Correct these lines; an image is named by its path "
                     "within the folder of pictures, such as summer/beach.jpg")  # fmt: skip
    return {name: tuple(texts) for name, texts in captions.items()}


def normal_name(name: str) -> str:
    """A normal form of a path: forward slashes, no ``./``, and letters with accents as one character."""
    return posixpath.normpath(unicodedata.normalize("NFC", name).replace("\\", "/"))


def stem(name: str) -> str:
    """A path without its extension: ``summer/beach.jpg`` -> ``summer/beach``."""
    return posixpath.splitext(normal_name(name))[0]


class Matcher:
    """Finds the noise that a file gets.

    Args:
        names: the names of the noises, from ``read_captions``.
        match: ``name``: the whole path must be equal; ``stem``: the extension may differ.
    """

    def __init__(self, names: Sequence[str], match: str):
        self._match = match
        self._names = {normal_name(name): index for index, name in enumerate(names)}
        self._stems: dict[str, list[int]] = {}
        for name, index in self._names.items():
            self._stems.setdefault(stem(name), []).append(index)

    def find(self, name: str) -> list[int]:
        """The numbers of the noises that match a file's path: none, one, or several if the match is ambiguous."""
        exact = self._names.get(normal_name(name))
        if exact is not None:
            return [exact]
        return self._stems.get(stem(name), []) if self._match == "stem" else []

    def find_by_stem(self, name: str) -> bool:
        """Whether a noise would match if extensions were ignored."""
        return stem(name) in self._stems
