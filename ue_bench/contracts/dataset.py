"""The contract of a dataset: a named source of a training and a test ImageSet."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

from ue_bench.contracts.content import Content
from ue_bench.data.imageset import Split
from ue_bench.errors import ConfigError


@dataclass(frozen=True)
class Dataset(Content):
    """A source of images. Fields are its configuration, such as a path or the name of a column."""

    @abstractmethod
    def load(self, image_size: int | None) -> Split:
        """Decodes everything once into 8-bit images, ``image_size`` pixels square (None: as stored).

        Raises:
            DataError: if files are absent, incomplete or corrupt; it names each one.
        """

    def made_from(self) -> tuple[str, tuple[str, ...]] | None:
        """(name, words such as ``train_images=2000``) of the dataset that this one changes; None for most.

        The registry makes that dataset, which may be a plug-in's, and gives it to this one as ``source``.
        """
        return None

    @property
    def source(self) -> Dataset:
        """The dataset that ``made_from`` names.

        Raises:
            ConfigError: if this one was made without a registry.
        """
        found: Dataset | None = vars(self).get("_source")
        if found is None:
            raise ConfigError(
                f"dataset '{self.name}' changes another dataset: make it with Registry().create('datasets', "
                f"'{self.name}', parameters)"
            )
        return found

    def with_source(self, source: Dataset) -> Self:
        """The same dataset, which now changes ``source``."""
        copy = dataclasses.replace(self)
        object.__setattr__(copy, "_source", source)  # no field: fields are parameters
        return copy

    def to_download(self) -> str:
        """In words: what ``load`` would have to download first, and how to run without it; "" if nothing."""
        return ""

    def label(self) -> str:
        """Its name in tables, which says so if its images are a lossy copy."""
        return type(self).__name__

    def source_state(self) -> object:
        """A value such as the files' sizes and dates. Cached images are valid as long as it stays equal.

        None means that nothing is cached on disk, because the source is as fast as the cache.
        """
        return None
