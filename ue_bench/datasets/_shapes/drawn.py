"""What the drawn data sets share: sizes, streams of random numbers, labelled parts."""

from __future__ import annotations

from typing import ClassVar

import torch

from ue_bench import Dataset, ImageSet, Split
from ue_bench.datasets._shapes.captioning import captions
from ue_bench.datasets._shapes.drawing import draw
from ue_bench.datasets._shapes.scenes import NAMES, sample

SIZE = 32  # pixels, if no image_size is given


class Drawn(Dataset):
    """A data set that is drawn from a seed. Raise ``version`` when the same fields draw other pixels or captions."""

    train_images: int
    test_images: int
    seed: int
    streams: ClassVar[tuple[int, int]] = (0, 1)  # of random numbers, for the two parts

    def load(self, image_size: int | None) -> Split:
        size = SIZE if image_size is None else image_size
        counts = self.train_images, self.test_images
        train, test = (self.part(*each, size) for each in zip(self.streams, counts, strict=True))
        return Split(train, test)

    def part(self, stream: int, count: int, size: int) -> ImageSet:
        """``count`` pictures of ``size`` pixels a side, from a stream of the seed."""
        raise NotImplementedError

    def source_state(self) -> object:
        """A constant, because the pictures depend on the fields only; reading them is faster than drawing them."""
        return "drawn"


def labelled(seed: tuple[int, int], count: int, size: int, forms: int, contrast: float = 1.0) -> ImageSet:
    """Pictures with the names of their shapes, and ``forms`` captions each."""
    scenes = sample(count, seed)
    return ImageSet(
        images=torch.from_numpy(draw(scenes, size, seed, contrast)),
        labels=torch.from_numpy(scenes.labels),
        captions=captions(scenes, forms),
        class_names=NAMES,
    )
