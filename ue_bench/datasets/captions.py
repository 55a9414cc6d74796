"""Any images with captions in a CSV or JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from ue_bench import Count, Dataset, Range, Split, Whole
from ue_bench.data.captions_csv import Row, group, read_rows
from ue_bench.data.decode import faulty
from ue_bench.data.files import File, find_files, find_state
from ue_bench.data.pictures import (
    OUTSIDE,
    PARTS,
    Parts,
    Picture,
    choose,
    decode_pictures,
    divide,
    find_images,
)
from ue_bench.datasets._karpathy import PART_OF, read_karpathy
from ue_bench.errors import ConfigError, DataError, UnavailableError

_SPLIT_COLUMN = "split"  # a file may lack this column, but not one whose name the user gave


@dataclass(frozen=True)
class Captions(Dataset):
    """Any images with captions: a CSV file of image,caption[,split], or a JSON file like Karpathy's.

    Every row of the CSV is one (image, caption) pair; an image may have many. Files are local or at any
    fsspec address; images are named relative to the file's folder or to ``images``, and lie
    within it. The column ``split`` gives the split (train, val or test; also restval, validation, dev); without one,
    the split is drawn by seed from the images' names. In JSON files it is ``images[].split``,
    with ``filename`` and ``sentences[].raw``. With ``image_size`` the shorter side is resized to it (antialiased
    bicubic) and the central square cut out.
    """

    path: str = ""  # CSV or JSON file, local or at an fsspec address
    images: str = ""  # folder or address of the images; "": the folder of that file
    image_column: str = "image"  # column of the CSV with the images' names
    caption_column: str = "caption"  # column with one caption
    split_column: str = "split"  # column with the part; without such a column test_share is drawn
    test: str = "test"  # part to measure on: test or val
    test_share: Annotated[float, Range(above=0, below=1)] = 0.2  # for files without a split
    train_images: Count | None = None  # size of a seeded, nested subset, for small profiles; None: all
    test_images: Count | None = None  # the same for test data
    captions_per_image: Count | None = None  # use the first so many captions of each image; None: all
    seed: Whole = 0  # for the subsets and the drawn split
    outside: bool = False  # whether the file may name images by addresses, absolute paths and ../

    def __post_init__(self) -> None:
        super().__post_init__()
        if PART_OF.get(self.test) not in ("test", "validation"):
            raise ConfigError(f"captions.test must be test or val, not '{self.test}'")

    def load(self, image_size: int | None) -> Split:
        file = self._file()
        faults: list[str] = []
        train, test, files = self._gather(file, faults)
        if faults:
            advice = f"correct or remove these; images are looked for in {self._folder()}, or set images="
            if any(fault.endswith(f"({OUTSIDE})") for fault in faults):
                advice += ". If you trust the file, captions.outside=true lets it name images anywhere"
            raise faulty(faults, max(len(faults), len(train) + len(test)), "entries", file.path, advice)
        cut = len(train)
        return Split(
            decode_pictures(train, files[:cut], image_size, f"{file.name} (train)"),
            decode_pictures(test, files[cut:], image_size, f"{file.name} ({self.test})"),
        )

    def source_state(self) -> object:
        file = self._file()
        return find_state([file, *self._gather(file, [])[2]])

    def _file(self) -> File:
        if not self.path:
            raise UnavailableError("captions has no file to read: set captions.path= to a CSV or JSON file")
        files = find_files("", self.path)
        if len(files) > 1:
            raise ConfigError(f"captions.path '{self.path}' matches {len(files)} files; it must match one")
        return files[0]

    def _folder(self) -> str:
        """The folder that the images' names are relative to, as the user gave it: an address keeps its protocol."""
        if self.images:
            return self.images
        return (self.path.rpartition("/")[0] or "/") if "/" in self.path else "."

    def _gather(self, file: File, faults: list[str]) -> tuple[list[Picture], list[Picture], list[File]]:
        """(training pictures, test pictures, the files of both); appends everything that is wrong to ``faults``."""
        parts = read_karpathy(file, faults) if file.name.endswith(".json") else self._read_csv(file, faults)
        measured = PART_OF[self.test]
        empty = [part for part in ("train", measured) if not parts[part]]
        if empty and not faults:
            counts = ", ".join(f"{part} {len(parts[part])}" for part in PARTS)
            raise DataError(
                f"'{file.path}' has no image for {' and '.join(empty)} (it has {counts}): correct its "
                "splits, or set captions.test= to the part to measure on"
            )
        if faults:  # some pictures are missing, so subsets cannot be drawn
            train, test = list(parts["train"]), list(parts[measured])
        else:
            train = self._choose("train", parts["train"], self.train_images)
            test = self._choose("test", parts[measured], self.test_images)
        return train, test, find_images([*train, *test], [self._folder()], faults, self.outside)

    def _choose(self, part: str, pictures: Sequence[Picture], wanted: int | None) -> list[Picture]:
        rows = choose(len(pictures), wanted, self.seed, part)
        return [pictures[row].limited(self.captions_per_image) for row in rows]

    def _read_csv(self, file: File, faults: list[str]) -> Parts:
        rows = read_rows(file, faults, (self.image_column,), (self.caption_column,), self.split_column)
        _find_repeated(rows, faults)
        if rows and rows[0].split is None:
            if self.split_column not in ("", _SPLIT_COLUMN):
                raise DataError(
                    f"'{file.path}' has no column '{self.split_column}': correct split_column=, or leave it "
                    "out to draw test_share of the images"
                )
            pictures = group(rows)
            count = max(1, round(self.test_share * len(pictures)))
            parts = divide(pictures, len(pictures) - count, count, self.seed)
            return {**parts, "validation": parts["test"]}
        divided: dict[str, list[Row]] = {part: [] for part in PARTS}
        part_of: dict[str, Row] = {}
        for row in rows:
            part = PART_OF.get((row.split or "").lower())
            first = part_of.setdefault(row.image, row)
            if part is None:
                faults.append(f"line {row.line} (split '{row.split}'; allowed are {', '.join(PART_OF)})")
            elif first.split != row.split:
                faults.append(f"line {row.line} ({row.image} is in '{first.split}' by line {first.line})")
            else:
                divided[part].append(row)
        return {part: group(inside) for part, inside in divided.items()}


def _find_repeated(rows: list[Row], faults: list[str]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        first = seen.setdefault((row.image, row.caption), row.line)
        if first != row.line:
            faults.append(f"line {row.line} (the same as line {first})")
