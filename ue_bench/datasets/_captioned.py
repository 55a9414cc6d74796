"""What Flickr8k, Flickr30k and MS-COCO share: finding one of their layouts, dividing it into parts, decoding it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from PIL import Image

from ue_bench import Count, Dataset, Whole
from ue_bench.data.captions_csv import apply_split, find_split, group, read_rows
from ue_bench.data.decode import faulty, open_image
from ue_bench.data.files import File, exists, find_files, find_state, join, list_folder
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.data.locate import data_root
from ue_bench.data.parquet import read_columns, read_first_image, read_parquet
from ue_bench.data.pictures import (
    Parts,
    Picture,
    choose,
    decode_pictures,
    divide,
    find_images,
)
from ue_bench.datasets._karpathy import read_annotations, read_karpathy
from ue_bench.errors import DataError, unknown

_PARTS = ("train", "test")
_IMAGE_COLUMNS = ("image", "img")
_CAPTION_COLUMNS = ("captions", "caption")
PARQUET = (
    ("train.parquet", "test.parquet"),
    ("train-*.parquet", "test-*.parquet"),
    ("data/train-*.parquet", "data/test-*.parquet"),
)


@dataclass(frozen=True)
class Found:
    """Where a dataset lies: its layout, its folder or address, and its files of captions."""

    layout: str
    root: str
    files: tuple[list[File], ...]


@dataclass(frozen=True)
class Captioned(Dataset):
    """A published dataset of photographs with captions; subclasses name its files.

    Attributes:
        title: the dataset's name in tables.
        origin: the names under which the original data can be obtained.
        folders: folders under ``UE_BENCH_DATA``; the first that holds a known layout is used.
        layouts: for each layout the files that identify it, alternatives in order; the first found is used.
        divided: layouts whose two files of annotations are the training and the test part, with the split's name.
        image_folders: folders of photographs within the root; an image is read from the first that has it.
        subfolders: folders within those, with which the names of pictures begin.
        sizes: number of training and test images where the split is drawn by seed.
        long_side: longer side of the original photographs in pixels; tables mark smaller copies.
    """

    title: ClassVar[str] = ""
    origin: ClassVar[str] = ""
    folders: ClassVar[tuple[str, ...]] = ()
    layouts: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {}
    divided: ClassVar[Mapping[str, str]] = {}
    image_folders: ClassVar[tuple[str, ...]] = ()
    subfolders: ClassVar[tuple[str, ...]] = ("",)
    sizes: ClassVar[tuple[int, int]] = (0, 0)
    long_side: ClassVar[int] = 500

    root: str = ""  # folder or fsspec address that holds the files; "": found under UE_BENCH_DATA
    layout: str = ""  # layout of the files, one of those above; "": the first that is found
    train_images: Count | None = None  # size of a seeded, nested subset, for small profiles; None: all
    test_images: Count | None = None  # the same for test data
    captions_per_image: Count | None = 5  # use the first so many captions of each image; None: all
    seed: Whole = 0  # for the subsets, the halves, and for the split if the files have none
    half: Literal["", "public", "protected"] = ""  # one of two halves of the training images, drawn by seed

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout and self.layout not in self.layouts:
            raise unknown(f"layout of {self._name()}", self.layout, self.layouts)

    def load(self, image_size: int | None) -> Split:
        found = self._find()
        if found.layout == "parquet":
            pairs = zip(_PARTS, found.files, strict=True)
            return Split(*(self._read_parquet(part, files, image_size) for part, files in pairs))
        parts = self._divide(found)
        train, test = (self._choose(part, parts[part]) for part in _PARTS)
        folders = [join(found.root, folder) if folder else found.root for folder in self.image_folders]
        faults: list[str] = []
        files = find_images([*train, *test], folders, faults)
        if faults:
            advice = f"images are looked for in {', '.join(folders)}; put them into one of these"
            raise faulty(faults, len(train) + len(test), "images", self.title, advice)
        cut = len(train)
        return Split(
            decode_pictures(train, files[:cut], image_size, f"{self.title} (train)"),
            decode_pictures(test, files[cut:], image_size, f"{self.title} (test)"),
        )

    def source_state(self) -> object:
        try:
            found = self._find()
        except DataError:
            return None  # load() raises the error
        files = [file for files in found.files for file in files]
        if found.layout != "parquet":
            files += find_split(found.root).values()
            for folder in self.image_folders:
                for inner in self.subfolders:
                    files += list_folder("/".join(filter(None, (found.root, folder, inner)))).values()
        return find_state(files)

    def label(self) -> str:
        """The dataset's name in tables, with its split, the size of a smaller copy, and what is left out."""
        notes = []
        with contextlib.suppress(DataError):
            found = self._find()
            if found.layout == "parquet":
                notes.append(self._describe_copy(found.files[0][0]))
            elif found.layout == "karpathy":
                notes.append("Karpathy split")
            elif found.layout in self.divided:
                notes.append(self.divided[found.layout])
            elif find_split(found.root):
                notes.append("MEM split")
            else:
                notes.append(f"random split {self.seed}")
        changed = self.changed_parameters()
        if self.half:
            notes.append(f"{self.half} half of seed {self.seed}")
        notes += [f"{changed[f'{p}_images']:,} {p} images" for p in _PARTS if changed.get(f"{p}_images")]
        if changed.get("captions_per_image"):
            notes.append(f"at most {self.captions_per_image} captions an image")
        notes = [note for note in notes if note]
        return f"{self.title} ({', '.join(notes)})" if notes else self.title

    def _name(self) -> str:
        return type(self).__module__.rpartition(".")[2]

    def _find(self) -> Found:
        """The first known layout in the first folder that holds one."""
        data = data_root()
        roots = [self.root] if self.root else [str(data / folder) for folder in self.folders if data]
        layouts = [self.layout] if self.layout else list(self.layouts)
        for root in roots:
            for layout in layouts:
                for names in self.layouts[layout]:
                    if any(exists(root, name) for name in names):
                        return Found(
                            layout, root.rstrip("/"), tuple(find_files(root, name) for name in names)
                        )
        known = "; ".join(
            f"{layout}: {' or '.join(' + '.join(names) for names in self.layouts[layout])}"
            for layout in layouts
        )
        places = f"looked in {', '.join(roots)}" if roots else "UE_BENCH_DATA is not set"
        raise DataError(
            f"{self.title} was not found: {places}. Known layouts are {known}. Set {self._name()}.root= "
            f"to the folder that holds them, or UE_BENCH_DATA to one with {self.folders[0]}/ in it. It is not "
            f"downloaded; the data can be had as {self.origin}"
        )

    def _divide(self, found: Found) -> Parts:
        """Reads the captions and puts every image into one part."""
        faults: list[str] = []
        files = [file for files in found.files for file in files]
        names = " and ".join(file.path for file in files)
        if found.layout == "karpathy":
            parts = read_karpathy(files[0], faults)
            count = sum(map(len, parts.values())) + len(faults)
        elif found.layout in self.divided:
            parts = {
                part: read_annotations(own, faults) for part, own in zip(_PARTS, found.files, strict=True)
            }
            count = sum(map(len, parts.values())) + len(faults)
        else:
            if found.layout == "annotations":
                pictures = read_annotations(files, faults)
            else:
                pictures = group(read_rows(files[0], faults))
            count = len(pictures) + len(faults)
        if faults:
            raise faulty(faults, count, "captions", names, "correct or copy the file again")
        if found.layout != "karpathy" and found.layout not in self.divided:
            lists = find_split(found.root)
            train, test = self.sizes
            # At most an eighth of an incomplete copy is for testing, so that enough is left for training.
            test = min(test, max(1, len(pictures) // 8))
            parts = apply_split(pictures, lists) if lists else divide(pictures, train, test, self.seed)
        empty = [part for part in _PARTS if not parts[part]]
        if empty:
            raise DataError(f"{names} lists no {' and no '.join(empty)} image: both parts need at least one")
        return parts

    def _choose(self, part: str, pictures: Sequence[Picture]) -> list[Picture]:
        rows = self._rows(part, len(pictures))
        return [pictures[row].limited(self.captions_per_image) for row in rows]

    def _rows(self, part: str, count: int) -> list[int]:
        """The rows of ``count`` images that belong to the dataset: of a half of them, or of all."""
        rows = list(range(count))
        if part == "train" and self.half:
            protected = set(choose(count, count // 2, self.seed, "half"))
            rows = [row for row in rows if (row in protected) == (self.half == "protected")]
        return [rows[place] for place in choose(len(rows), self._wanted(part), self.seed, part)]

    def _wanted(self, part: str) -> int | None:
        return self.train_images if part == "train" else self.test_images

    def _read_parquet(self, part: str, files: Sequence[File], image_size: int | None) -> ImageSet:
        stored = read_parquet(
            files,
            image_size,
            image_column=_pick(files[0], "images", _IMAGE_COLUMNS),
            label_column="",
            caption_column=_pick(files[0], "captions", _CAPTION_COLUMNS),
            choose=lambda count: self._rows(part, count),
        )
        captions = tuple(
            tuple(text.strip() for text in texts[: self.captions_per_image])
            for texts in stored.captions or ()
        )
        return ImageSet(stored.images, captions=captions)

    def _describe_copy(self, file: File) -> str:
        """``160x160 WEBP copy`` if the first image is not a JPEG file, or is clearly smaller than the originals."""
        data = read_first_image(file, _pick(file, "images", _IMAGE_COLUMNS))
        try:
            with open_image(io.BytesIO(data)) as image:
                small = max(image.size) < 0.75 * self.long_side
                if small or image.format != "JPEG":
                    return f"{image.width}x{image.height} {image.format} copy"
        except (OSError, Image.DecompressionBombError):  # load() names every image that is damaged
            pass
        return ""


def _pick(file: File, what: str, columns: Sequence[str]) -> str:
    there = read_columns(file)
    for column in columns:
        if column in there:
            return column
    raise DataError(
        f"'{file.path}' has no column of {what} ({' or '.join(columns)}): its columns are {', '.join(there)}"
        ". Rename it, or use the dataset 'parquet', which takes the names of columns"
    )
