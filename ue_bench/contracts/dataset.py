"""The contract of a dataset: a named source of a training and a test ImageSet."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from ue_bench.contracts.content import Content
from ue_bench.data.imageset import Split


@dataclass(frozen=True)
class Dataset(Content):
    """A source of images. Fields are its configuration, such as a path or the name of a column."""

    @abstractmethod
    def load(self, image_size: int | None) -> Split:
        """Decodes everything once into 8-bit images, ``image_size`` pixels square (None: as stored).

        Raises:
            DataError: if files are absent, incomplete or corrupt; it names each one.
        """

    def to_download(self) -> str:
        """What ``load`` would have to download first, and how to do without, in words; "" if nothing."""
        return ""

    def label(self) -> str:
        """What tables call it; name lossy copies as such."""
        return type(self).__name__

    def source_state(self) -> object:
        """What must be equal for a cached decode to be valid still: sizes and dates of files, say.

        None means: never cache on disk (the source is as fast as the cache).
        """
        return None
