"""What CIFAR-10, CIFAR-100 and STL-10 share: they are Parquet files, or torchvision's files, or are downloaded."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from ue_bench.contracts.dataset import Dataset
from ue_bench.data.decode import open_image, resize_all
from ue_bench.data.files import File, find_files, find_state
from ue_bench.data.imageset import ImageSet, Split
from ue_bench.data.locate import cache_root, data_root
from ue_bench.data.parquet import read_columns, read_first_image, read_parquet
from ue_bench.data.strata import stratified
from ue_bench.errors import ConfigError, DataError
from ue_bench.seeds import derive

_PARTS = ("train", "test")
_SILENCE_SECONDS = 30.0  # a server that has not answered for so long counts as absent


@dataclass(frozen=True)
class Torchvision(Dataset):
    """A dataset of fixed content, found under ``UE_BENCH_DATA`` or downloaded and checked by torchvision.

    Attributes:
        title: the dataset's name in tables.
        names: the names of the classes, by label.
        folder: folder under ``UE_BENCH_DATA`` that holds train.parquet and test.parquet, or torchvision's folder.
        native: torchvision's own folder; "" if torchvision does not have this dataset.
        image_columns: possible columns of images in the Parquet files; the first that exists is used.
        label_columns: the same for labels.
    """

    title: ClassVar[str] = ""
    names: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[str] = ""
    native: ClassVar[str] = ""
    image_columns: ClassVar[tuple[str, ...]] = ("image", "img")
    label_columns: ClassVar[tuple[str, ...]] = ("label", "labels")

    train_images: int | None = None  # size of a seeded, class-stratified, nested subset; null: all
    test_images: int | None = None  # the same for test data
    seed: int = 0  # for these subsets

    def __post_init__(self) -> None:
        for part in _PARTS:
            wanted = self._wanted(part)
            if wanted is not None and wanted < 1:
                raise ConfigError(f"{self.folder}.{part}_images must be at least 1, not {wanted}")

    def parameters(self) -> dict[str, Any]:
        """Empty for the whole dataset, so that its trials keep the ids that they had before subsets could be drawn."""
        whole = self.train_images is None and self.test_images is None
        return {} if whole else super().parameters()

    def open_native(self, root: str, part: str, download: bool) -> tuple[np.ndarray, Any]:
        """Reads torchvision's files in ``root``/``native``, checked against their published MD5 sums.

        Args:
            root: the folder that holds, or will hold, the folder ``native``.
            part: "train" or "test".
            download: whether to download missing files.

        Returns:
            (images uint8 [N, 3, H, W], labels [N], integers from 0).

        Raises:
            RuntimeError: if a file is absent or its MD5 sum differs.
        """
        raise NotImplementedError

    def load(self, image_size: int | None) -> Split:
        files = self._parquet_files()
        if files:
            parts = [self._read_parquet(file, image_size) for file in files]
        else:
            root = self._native_root() or self._download()
            parts = [self._read_native(root, part, image_size) for part in _PARTS]
        train, test = (self._part_of(images, part) for images, part in zip(parts, _PARTS, strict=True))
        return Split(train, test)

    def to_download(self) -> str:
        if self._parquet_files() or self._native_root() is not None:
            return ""
        return (
            f"{self.title} is not on this machine: set UE_BENCH_DATA to a folder that holds {self.folder}/, "
            "or let ue-bench run fetch it first"
        )

    def source_state(self) -> object:
        files = self._parquet_files()
        if files:
            return find_state(files)
        root = self._native_root()
        if root is None:
            return None
        return find_state(find_files(str(root / self.native), "*"))

    def label(self) -> str:
        """The dataset's name in tables, which says if the images went through JPEG or are a subset."""
        notes = [self._describe_copy()]
        notes += [f"{wanted:,} {part} images" for part in _PARTS if (wanted := self._wanted(part))]
        notes = [note for note in notes if note]
        return f"{self.title} ({', '.join(notes)})" if notes else self.title

    def _describe_copy(self) -> str:
        with contextlib.suppress(DataError):
            for file in self._parquet_files():
                copy = describe_jpeg(read_first_image(file, self._pick(file, self.image_columns)))
                if copy:
                    return f"{copy} copy"
        return ""

    def _wanted(self, part: str) -> int | None:
        return self.train_images if part == "train" else self.test_images

    def _part_of(self, images: ImageSet, part: str) -> ImageSet:
        wanted = self._wanted(part)
        if wanted is None:
            return images
        if wanted > len(images):
            raise ConfigError(
                f"{self.folder}.{part}_images is {wanted:,}, but the {part} part has {len(images):,} images: "
                f"set it to at most that, or leave it out"
            )
        places = stratified(images.labels, len(images), derive(self.seed, part, "part"))
        return images.take(places.argsort(stable=True)[:wanted].sort().values)

    def _parquet_files(self) -> list[File]:
        """The Parquet files of the training and the test data under ``UE_BENCH_DATA``, or []."""
        root = data_root()
        present = [root is not None and (root / self.folder / f"{part}.parquet").is_file() for part in _PARTS]
        if root is None or not any(present):
            return []
        return [file for part in _PARTS for file in find_files(str(root / self.folder), f"{part}.parquet")]

    def _read_parquet(self, file: File, image_size: int | None) -> ImageSet:
        label_column = self._pick(file, self.label_columns)
        image_column = self._pick(file, self.image_columns)
        return read_parquet([file], image_size, image_column, label_column, class_names=self.names)

    def _pick(self, file: File, columns: tuple[str, ...]) -> str:
        there = read_columns(file)
        return next((column for column in columns if column in there), columns[0])

    def _native_root(self) -> Path | None:
        """The folder that holds torchvision's folder, under ``UE_BENCH_DATA`` or among earlier downloads."""
        if not self.native:
            return None
        data = data_root()
        places = [data, data / self.folder] if data else []
        places.append(cache_root() / "downloads")
        return next((place for place in places if (place / self.native).is_dir()), None)

    def _read_native(self, root: Path, part: str, image_size: int | None) -> ImageSet:
        try:
            images, labels = self.open_native(str(root), part, download=False)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{root / self.native} is incomplete or damaged ({reason}); its files must have the "
                "published MD5 sums. Copy it again, or remove it so that it is downloaded anew"
            ) from error
        pixels = torch.from_numpy(np.ascontiguousarray(images))
        return ImageSet(
            resize_all(pixels, image_size),
            torch.from_numpy(np.asarray(labels, dtype=np.int64)),
            class_names=self.names,
        )

    def _download(self) -> Path:
        """Downloads into the cache; the folder appears there only when it is complete.

        Two processes may do so at once: the files of the first to finish stay, and they are the same.
        """
        wanted = f"{self.folder}/train.parquet and {self.folder}/test.parquet"
        if not self.native:
            raise DataError(
                f"{self.title} is not on this machine, and cannot be downloaded: set UE_BENCH_DATA to a "
                f"folder that holds {wanted} (columns image, label)"
            )
        target = cache_root() / "downloads"
        try:
            target.mkdir(parents=True, exist_ok=True)
            with (
                tempfile.TemporaryDirectory(dir=target, prefix=".incomplete-") as unfinished,
                _patience(_SILENCE_SECONDS),
            ):
                self.open_native(unfinished, "train", download=True)
                try:
                    os.replace(Path(unfinished, self.native), target / self.native)
                except OSError:
                    if not (target / self.native).is_dir():
                        raise
        except Exception as error:  # network, server and disk raise many kinds of errors
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(
                f"{self.title} is not on this machine, and downloading it failed ({reason}). Either set "
                f"UE_BENCH_DATA to a folder that holds {wanted}, or {self.native}/; or run once online: it "
                f"is then kept in {target}"
            ) from error
        return target


def describe_jpeg(data: bytes) -> str:
    """``JPEG-75`` for a JPEG file of quality 75, ``JPEG`` if its tables fit no quality, "" for other files."""
    if not data.startswith(b"\xff\xd8\xff"):
        return ""
    try:
        with open_image(io.BytesIO(data)) as image:
            tables = getattr(image, "quantization", {})
    except (OSError, Image.DecompressionBombError):
        return "JPEG"
    return next(
        (f"JPEG-{q}" for q in range(100, 0, -1) if _luminance_table(q) == list(tables.get(0, ()))), "JPEG"
    )


@functools.cache
def _luminance_table(quality: int) -> list[int]:
    """The luminance quantisation table that Pillow writes at a quality."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
    return list(Image.open(buffer).quantization[0])  # type: ignore[attr-defined]


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Sets a timeout for sockets that are opened within the context, because torchvision sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
