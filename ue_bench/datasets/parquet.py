"""Any dataset in Parquet files."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench import Dataset, ImageSet, Split
from ue_bench.data.files import File, find_files, find_state
from ue_bench.data.parquet import read_parquet
from ue_bench.errors import ConfigError, DataError, UnavailableError


@dataclass(frozen=True)
class Parquet(Dataset):
    """Parquet files in the layout of Hugging Face image datasets, local or at any fsspec address (hf://, s3://).

    Images are encoded files in a ``struct<bytes, path>`` or binary column. With ``image_size`` the shorter
    side is resized to it (antialiased bicubic) and the central square cut out.
    """

    path: str = ""  # folder or fsspec address that holds the files, such as hf://datasets/OWNER/NAME
    train: str = "train.parquet"  # training file in path, a pattern (data/train-*.parquet), or a full address
    test: str = "test.parquet"  # test file in path, pattern or full address, such as validation.parquet
    image_column: str = "image"  # column of encoded images
    label_column: str = "label"  # column of integers from 0, or of strings in class_names; "" for none
    caption_column: str = ""  # column of one text or a list of texts per image; "" for none
    class_names: tuple[str, ...] = ()  # one per class, in order; empty: those in the file's metadata, if any

    def load(self, image_size: int | None) -> Split:
        if not self.label_column and not self.caption_column:
            raise ConfigError(
                "parquet has neither labels nor captions: set parquet.label_column= or parquet.caption_column= to "
                "a column"
            )
        train, test = (self._read(name, image_size) for name in (self.train, self.test))
        if not train.class_names and test.classes > train.classes:
            raise DataError(
                f"test labels run to {test.classes - 1}, but training labels to {train.classes - 1}; both "
                "must have the same classes. Set class_names= to the names of all"
            )
        return Split(train, test)

    def source_state(self) -> object:
        return find_state([*self._files(self.train), *self._files(self.test)])

    def _files(self, name: str) -> list[File]:
        if not self.path and "://" not in name and not name.startswith(("/", "~")):
            raise UnavailableError(
                f"parquet has no folder for '{name}': set parquet.path= to a folder or address, or "
                "parquet.train= and parquet.test= to full addresses"
            )
        return find_files(self.path, name)

    def _read(self, name: str, image_size: int | None) -> ImageSet:
        return read_parquet(
            self._files(name),
            image_size,
            image_column=self.image_column,
            label_column=self.label_column,
            caption_column=self.caption_column,
            class_names=self.class_names,
        )
