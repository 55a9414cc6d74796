"""Pictures of ten shapes, drawn from a seed: labels and captions, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from ue_bench import Count, Dataset, ImageSet, Range, Split, Whole
from ue_bench.datasets._shapes.captioning import captions
from ue_bench.datasets._shapes.drawing import draw
from ue_bench.datasets._shapes.scenes import NAMES, sample

_SIZE = 32  # pixels, where none is given
_TRAIN, _TEST = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class Shapes(Dataset):
    """Drawn pictures of ten shapes with labels and captions, nothing to download.

    One shape a picture, in any colour, texture, size, place and direction, on another colour with some
    clutter. All shapes cover the same area, so that only the outline tells the class: a victim has to learn
    something, and takes noise that marks the class for the easier way. Image sizes differ in sharpness and
    grain alone.

    Every ten pictures from the start hold each class once, and the first pictures of a seed are the same
    however many follow. Raise ``version`` when the same fields draw other pixels or captions than before.
    """

    train_images: Count = 5000
    test_images: Count = 1000
    seed: Whole = 0
    captions_per_image: Annotated[int, Range(1, 5)] = 2  # 1 to 5, each built differently

    def load(self, image_size: int | None) -> Split:
        size = _SIZE if image_size is None else image_size
        return Split(self._part(_TRAIN, self.train_images, size), self._part(_TEST, self.test_images, size))

    def _part(self, stream: int, count: int, size: int) -> ImageSet:
        seed = (self.seed, stream)
        scenes = sample(count, seed)
        return ImageSet(
            images=torch.from_numpy(draw(scenes, size, seed)),
            labels=torch.from_numpy(scenes.labels),
            captions=captions(scenes, self.captions_per_image),
            class_names=NAMES,
        )

    def source_state(self) -> object:
        """Constant: nothing but the fields decides what is drawn, and reading is faster than drawing."""
        return "drawn"
