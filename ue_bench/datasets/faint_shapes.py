"""The pictures of ``shapes`` with little contrast: a test in small for noise, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ue_bench import Count, ImageSet, Range, Whole
from ue_bench.datasets._shapes.drawn import Drawn, labelled


@dataclass(frozen=True)
class FaintShapes(Drawn):
    """Drawn pictures of ten shapes with less contrast, on which noise matters to small networks of several families.

    The same scenes, labels and captions as ``shapes`` of the same seed. Every colour is moved towards mid-grey, and the
    grain of 2/255 stays. On ``shapes`` a small DenseNet passes over SynPer's noise (88 % after 16 epochs on protected
    pictures, one seed); at a contrast of 0.45 it ends at 11 %. Nothing is downloaded. Raise
    ``version`` when the same fields draw other pixels or captions than before.
    """

    train_images: Count = 4500
    test_images: Count = 1000
    seed: Whole = 0
    contrast: Annotated[float, Range(0.05, 1)] = 0.45  # share of the distance from mid-grey that stays
    captions_per_image: Annotated[int, Range(1, 5)] = 2  # 1 to 5, each of another form

    def part(self, stream: int, count: int, size: int) -> ImageSet:
        return labelled((self.seed, stream), count, size, self.captions_per_image, self.contrast)
