"""The training set as a protector sees it: only what the method declares."""

from __future__ import annotations

import torch
from torch import Tensor

from ue_bench.contracts.access import Access
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import AccessError, ConfigError


class ProtectorView:
    """A training set, reduced to the parts that ``access`` declares. The other parts are not in this object at all.

    Attributes:
        image_size: (height, width) in pixels.
        examples: what a victim trains on: images (supervised) or (image, caption) pairs (contrastive).
        paradigm: ``supervised`` or ``contrastive``.
    """

    def __init__(
        self, train: ImageSet, access: Access, paradigm: str = "supervised", method: str = "the method"
    ):
        if paradigm == "supervised":
            access &= ~Access.CAPTIONS  # a method for both paradigms declares what either needs
        self._method = method
        self._access = access
        self._images = train.images if Access.IMAGES in access else None
        self._labels = train.labels if Access.LABELS in access else None
        self._captions = train.captions if Access.CAPTIONS in access else None
        self._class_names = train.class_names if Access.CLASS_NAMES in access else None
        self._names = train.names if Access.IMAGES in access else None
        self._classes = train.classes
        self._pairs = train.pairs if paradigm == "contrastive" else torch.arange(len(train))
        self.paradigm = paradigm
        self.image_size = train.image_size
        self.examples = len(self._pairs)

    @classmethod
    def of_captions(
        cls,
        captions: tuple[tuple[str, ...], ...],
        image_size: tuple[int, int],
        access: Access,
        method: str = "the method",
    ) -> ProtectorView:
        """A view for a place without the pictures: it has their captions, and the (height, width) of their noise."""
        absent = torch.zeros(1, dtype=torch.uint8).expand(len(captions), 3, *image_size)  # takes one byte
        view = cls(ImageSet(absent, captions=captions), access, "contrastive", method)
        view._images = None
        return view

    def __len__(self) -> int:
        return self.examples

    @property
    def images(self) -> Tensor:
        """uint8 [N, 3, H, W], 0..255. Read only: take a copy before changing anything."""
        return self._reveal(self._images, Access.IMAGES)

    @property
    def names(self) -> tuple[str, ...] | None:
        """What each image is called in its source, such as ``cat/0001.png``; None where the source has no names."""
        self._reveal(self._images, Access.IMAGES)
        return self._names

    @property
    def labels(self) -> Tensor:
        """int64 [N]."""
        return self._reveal(self._labels, Access.LABELS)

    @property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """For each image its captions."""
        return self._reveal(self._captions, Access.CAPTIONS)

    @property
    def example_captions(self) -> tuple[str, ...]:
        """One caption a training example, which in contrastive runs is an (image, caption) pair."""
        return tuple(text for texts in self.captions for text in texts)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class."""
        return self._reveal(self._class_names, Access.CLASS_NAMES)

    @property
    def classes(self) -> int:
        """The number of classes; needs LABELS or CLASS_NAMES."""
        if not self._access & (Access.LABELS | Access.CLASS_NAMES):
            raise AccessError(
                f"{self._method} reads the number of classes, but declares neither LABELS nor CLASS_NAMES"
            )
        return self._classes

    @property
    def image_of_example(self) -> Tensor:
        """int64 [examples]: the image that each example shows."""
        return self._pairs.clone()

    def rows(self, granularity: str) -> Tensor:
        """int64 [examples]: the class, image or pair of each example; class-wise rows need LABELS.

        A method of granularity ``cluster`` makes its own rows: which cluster each example's image is in.
        """
        if granularity == "class":
            return self.labels[self._pairs].clone()
        if granularity == "image":
            return self._pairs.clone()
        if granularity == "cluster":
            raise ConfigError(f"the data has no clusters: {self._method} must make rows from its own")
        return torch.arange(self.examples)

    def _reveal(self, part, need: Access):
        if need not in self._access:
            raise AccessError(
                f"{self._method} reads {need.words()[0]}, but declares access to "
                f"{', '.join(self._access.words()) or 'nothing'} only: add Access.{need.name} to 'access'"
            )
        if part is None:
            raise AccessError(f"{self._method} needs {need.words()[0]}, but the dataset has none")
        return part
