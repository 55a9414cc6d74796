"""The pictures of ``shapes`` with little contrast: a test in small for noise, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from ue_bench import Count, Dataset, ImageSet, Range, Split, Whole
from ue_bench.datasets._shapes.captioning import captions
from ue_bench.datasets._shapes.drawing import draw
from ue_bench.datasets._shapes.scenes import NAMES, sample

_SIZE = 32  # pixels, if no image_size is given
_TRAIN, _TEST = 0, 1  # streams of random numbers: those of ``shapes``


@dataclass(frozen=True)
class FaintShapes(Dataset):
    """Drawn pictures of ten shapes with less contrast: noise matters to a small network as it does in photographs.

    The same scenes, labels and captions as ``shapes`` of the same seed. Every colour is moved towards mid-grey, and the
    grain of 2/255 stays. In ``shapes`` an edge is some twenty times as high as noise of 8/255, and small networks
    of some families (a VGG, a DenseNet) learn the edges and pass over the noise. Nothing is downloaded. Raise
    ``version`` when the same fields draw other pixels or captions than before.
    """

    train_images: Count = 4500
    test_images: Count = 1000
    seed: Whole = 0
    contrast: Annotated[float, Range(0.05, 1)] = 0.45  # share of the distance from mid-grey that stays
    captions_per_image: Annotated[int, Range(1, 5)] = 2  # 1 to 5, each of another form

    def load(self, image_size: int | None) -> Split:
        size = _SIZE if image_size is None else image_size
        return Split(self._part(_TRAIN, self.train_images, size), self._part(_TEST, self.test_images, size))

    def source_state(self) -> object:
        """A constant, because the pictures depend on the fields only."""
        return "drawn"

    def _part(self, stream: int, count: int, size: int) -> ImageSet:
        seed = (self.seed, stream)
        scenes = sample(count, seed)
        return ImageSet(
            images=torch.from_numpy(draw(scenes, size, seed, self.contrast)),
            labels=torch.from_numpy(scenes.labels),
            captions=captions(scenes, self.captions_per_image),
            class_names=NAMES,
        )
