"""A dataset for tests."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Dataset, ImageSet, Split


@dataclass(frozen=True)
class Blobs(Dataset):
    """Bright corners: a class for each corner of a dim, noisy picture."""

    count: int = 64  # training images; half as many for the test
    captioned: bool = False  # with two captions an image

    def load(self, image_size: int | None) -> Split:
        return Split(
            self._draw(self.count, image_size or 16, 0), self._draw(self.count // 2, image_size or 16, 1)
        )

    def _draw(self, count: int, size: int, seed: int) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(40, 90, (count, 3, size, size), generator=generator, dtype=torch.uint8)
        labels = torch.arange(count) % 4
        half = size // 2
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, label // 2 * half :, label % 2 * half :][:, :half, :half] += 60
        names = ("upper left", "upper right", "lower left", "lower right")
        captions = (
            tuple((names[c], f"bright {names[c]}") for c in labels.tolist()) if self.captioned else None
        )
        return ImageSet(images, labels, captions, names)
