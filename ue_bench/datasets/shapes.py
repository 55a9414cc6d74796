"""Pictures of ten shapes, drawn from a seed: labels and captions, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from ue_bench import Count, Dataset, ImageSet, Range, Split, Whole
from ue_bench.datasets._shapes.captioning import captions
from ue_bench.datasets._shapes.drawing import draw
from ue_bench.datasets._shapes.scenes import NAMES, sample

_SIZE = 32  # pixels, if no image_size is given
_TRAIN, _TEST = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class Shapes(Dataset):
    """Drawn pictures of ten shapes with labels and captions, nothing to download.

    Each picture has one shape, in any colour, texture, size, place and direction, on another colour with some
    clutter. All shapes have the same area, so that only the outline shows the class: a victim has to learn
    something, and noise that marks the class is easier to learn. Image sizes differ in sharpness and grain only.

    Every ten pictures in a row, from the first, hold each class once, and a seed's first pictures do not depend on how
    many follow. Raise ``version`` when the same fields draw other pixels or captions than before.
    """

    train_images: Count = 5000
    test_images: Count = 1000
    seed: Whole = 0
    captions_per_image: Annotated[int, Range(1, 5)] = 2  # 1 to 5, each of another form

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
        """A constant, because the pictures depend on the fields only; reading them is faster than drawing them."""
        return "drawn"
