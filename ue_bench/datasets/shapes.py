"""Pictures of ten shapes, drawn from a seed: labels and captions, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ue_bench import Count, ImageSet, Range, Whole
from ue_bench.datasets._shapes.drawn import Drawn, labelled


@dataclass(frozen=True)
class Shapes(Drawn):
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

    def part(self, stream: int, count: int, size: int) -> ImageSet:
        return labelled((self.seed, stream), count, size, self.captions_per_image)
