"""Pictures of ten shapes, drawn from a seed: labels and captions, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Dataset, ImageSet, Split
from ue_bench.data.drawing import draw
from ue_bench.data.scenes import NAMES, sample


@dataclass(frozen=True)
class Shapes(Dataset):
    train_images: int = 4000
    test_images: int = 1000
    seed: int = 0
    captions_per_image: int = 2

    def load(self, image_size: int | None) -> Split:
        return Split(
            self.part(0, self.train_images, image_size or 32),
            self.part(1, self.test_images, image_size or 32),
        )

    def part(self, stream: int, count: int, size: int) -> ImageSet:
        seed = (self.seed, stream)
        scenes = sample(count, seed)
        return ImageSet(
            torch.from_numpy(draw(scenes, size, (*seed, 2))), torch.from_numpy(scenes.labels), None, NAMES
        )
