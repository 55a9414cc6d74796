"""The one form in which training and test data exist: 8-bit images with labels or captions."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ue_bench.errors import DataError

PARADIGMS = ("supervised", "contrastive")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels, captions, or both.

    Attributes:
        images: uint8 [N, 3, H, W], 0..255.
        labels: int64 [N], 0..classes-1, or None.
        captions: for each image a tuple of strings, or None.
        class_names: one name per class, or None.
        names: each image's name in its source, such as ``cat/0001.png``, or None; not part of the fingerprint.

    Raises:
        DataError: if shapes, dtypes or ranges do not fit.
    """

    images: Tensor
    labels: Tensor | None = None
    captions: tuple[tuple[str, ...], ...] | None = None
    class_names: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    _memo: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise DataError(f"images must be uint8 [N, 3, H, W], not {images.dtype} {list(images.shape)}")
        if len(images) == 0:
            raise DataError("the dataset holds no image")
        if labels is not None:
            if labels.dtype != torch.int64 or labels.shape != (len(images),):
                raise DataError(
                    f"labels must be int64 [{len(images)}], not {labels.dtype} {list(labels.shape)}"
                )
            if int(labels.min()) < 0 or (self.class_names and int(labels.max()) >= len(self.class_names)):
                raise DataError(
                    f"labels run from {int(labels.min())} to {int(labels.max())}; "
                    f"allowed are 0 to {len(self.class_names or ()) - 1}"
                )
        if self.captions is not None and len(self.captions) != len(images):
            raise DataError(f"{len(self.captions)} caption lists for {len(images)} images")
        if self.names is not None and len(self.names) != len(images):
            raise DataError(f"{len(self.names)} names for {len(images)} images")
        if self.captions is not None and not all(self.captions):
            empty = next(index for index, texts in enumerate(self.captions) if not texts)
            raise DataError(f"image {empty} has no caption; every image needs at least one")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    @property
    def classes(self) -> int:
        """The number of classes: of names where there are names, else one more than the largest label."""
        if self.class_names:
            return len(self.class_names)
        return 0 if self.labels is None else int(self.labels.max()) + 1

    @functools.cached_property
    def pairs(self) -> Tensor:
        """int64 [P]: the image of each (image, caption) pair, ordered by image, then by caption."""
        counts = torch.tensor([len(texts) for texts in self.captions or ()], dtype=torch.int64)
        return torch.repeat_interleave(torch.arange(len(counts)), counts)

    def take(self, index: Tensor) -> ImageSet:
        """The images at ``index`` (int64 [n]) with their labels, captions and names; class names are unchanged."""
        captions = None if self.captions is None else tuple(self.captions[i] for i in index.tolist())
        labels = None if self.labels is None else self.labels[index]
        names = None if self.names is None else tuple(self.names[i] for i in index.tolist())
        return ImageSet(self.images[index], labels, captions, self.class_names, names)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pixel, label, caption or class name."""
        if "fingerprint" not in self._memo:
            self._memo["fingerprint"] = self.hash_content()
        return self._memo["fingerprint"]

    def hash_content(self) -> str:
        """Computes the fingerprint of the current content."""
        content = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        content.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            content.update(self.labels.contiguous().numpy().data)
        content.update(repr((self.captions, self.class_names)).encode())
        return content.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Split:
    """A dataset as a benchmark uses it: the training data, which are protected, and the clean test data."""

    train: ImageSet
    test: ImageSet

    def __post_init__(self) -> None:
        if self.train.image_size != self.test.image_size:
            raise DataError(
                f"training images are {self.train.image_size}, test images {self.test.image_size}: "
                "set image_size= so that both are decoded at one size"
            )
