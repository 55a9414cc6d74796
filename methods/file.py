"""Noise or protected images that somebody else published."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView
from ue_bench.errors import ConfigError, DataError, nearest

from ._file.arrays import READERS, read_array
from ._file.found import Found
from ._file.meaning import Meaning, understand
from ._file.pictures import read_folder, read_parquet_pictures

EXPORTS = ("train", "train.parquet", "train.npz")  # names of the training set in a folder of ue-bench export


@dataclass(frozen=True)
class File(Method):
    """Noise or protected images that somebody else made, named file:PATH, such as file:noise.npy.

    Reads arrays (.npy, .npz, .pt, .safetensors), a folder of pictures, a Parquet file, or a folder of ue-bench export.
    Arrays hold floats in the pixel range or integers in steps of 1/255, channels first or last, one entry per image or
    class; pictures are matched by name, by number (00012.png), or by order. The budget is the largest linf norm that
    is measured; where single values change by more than 127 steps, it is the number of pixels that change (l0) if
    that is at most 16, else none. Pickled objects are never loaded. Noise of one sign, noise that was rounded down,
    and images without noise are accepted, and a note under the table says so.
    """

    argument: ClassVar[str] = "path"
    files: ClassVar[frozenset[str]] = frozenset({"path"})
    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class", "pair")
    variants: ClassVar[frozenset[str]] = frozenset({"key", "holds", "unit"})
    cost: ClassVar[str] = "nothing; what others spent on it is not known"

    budget: Budget = Budget("none")  # none: as measured; l2:1.3 compares it under another norm
    granularity: str = "image"  # determined by the number of entries
    path: str = ""  # local file or folder
    key: str = (
        ""  # which array of a file that holds several; the column of pictures in Parquet; "": the only one
    )
    holds: Literal["", "noise", "images"] = ""  # noise or images; "": decided by the values
    unit: Literal["", "range", "steps"] = ""  # unit of floats: range (0 to 1), or steps (of 1/255); "": range

    def unavailable(self) -> str:
        path = self._path()
        if path.exists():
            return ""
        there = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
        close = nearest(path.name, there)
        guess = f"did you mean '{path.parent / close[0]}'?" if close else "correct the path"
        return f"no file or folder '{path}': {guess}"

    def for_data(self, view: ProtectorView) -> Method:
        meaning = self._read(view)
        if self.granularity not in ("image", meaning.granularity):
            raise ConfigError(
                f"'{self.path}' holds {meaning.granularity}-wise noise, not {self.granularity}-wise: leave out "
                "granularity="
            )
        return dataclasses.replace(self, budget=meaning.perturbation.budget, granularity=meaning.granularity)

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        meaning = self._read(view)
        context.notes["file"] = meaning.facts
        if meaning.remarks:
            context.notes["remarks"] = meaning.remarks
        for sentence in meaning.remarks:
            context.warn(sentence)
        return meaning.perturbation

    def _read(self, view: ProtectorView) -> Meaning:
        return understand(self._find(view), view, self.holds, self.unit, self.budget)

    def _find(self, view: ProtectorView) -> Found:
        path = self._path()
        if path.is_dir():
            path = next((path / name for name in EXPORTS if (path / name).exists()), path)
        if path.is_dir():
            return read_folder(path, len(view.images), view.names)
        if path.suffix.lower() == ".parquet":
            return read_parquet_pictures(path, self.key)
        if path.suffix.lower() in READERS:
            return read_array(path, self.key)
        raise DataError(
            f"'{path}' is of no kind that is read: allowed are {' '.join(READERS)} .parquet and folders of pictures"
        )

    def _path(self) -> Path:
        return Path(self.path).expanduser()
