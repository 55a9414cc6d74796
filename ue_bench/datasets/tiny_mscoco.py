"""A small sample of MS-COCO captions."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench.datasets.mscoco import Mscoco


@dataclass(frozen=True)
class TinyMscoco(Mscoco):
    """A seeded sample of MS-COCO: 6,000 training and 1,000 test images, five captions each; our definition.

    T2UE (2025) reports numbers on a "Tiny-MSCOCO" that it does not define, so its numbers cannot be compared
    with ours. The training images are drawn from MS-COCO's training part, the test images from its test part.
    Files and layouts are those of the dataset ``mscoco``.
    """

    title = "Tiny-MSCOCO"

    train_images: int | None = 6000  # drawn by seed from the training part of MS-COCO
    test_images: int | None = 1000  # drawn by seed from its test part

    def label(self) -> str:
        """The dataset's name in tables, which says that the sample is ours."""
        name, _, notes = super().label().partition(" (")
        return f"{name} (our own sample{', ' + notes if notes else ')'}"
