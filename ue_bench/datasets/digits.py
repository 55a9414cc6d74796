"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ue_bench import Dataset, ImageSet, Split
from ue_bench.data.decode import resize_all

_TEST_SHARE = 0.2  # of each class
_SIZE = 32  # pixels; scikit-learn's images are 8 x 8


@dataclass(frozen=True)
class Digits(Dataset):
    """Handwritten digits of scikit-learn (UCI Optical Recognition): 1,797 images, nothing to download.

    Real grey images of 8x8 pixels, enlarged (bicubic) to ``image_size``, or to 32 if none is given. The
    test data are a fifth of each class, drawn with a fixed seed.
    """

    def load(self, image_size: int | None) -> Split:
        from sklearn.datasets import load_digits  # slow to import, and planning does not need it

        digits = load_digits()
        grey = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))
        images = resize_all(grey[:, None].expand(-1, 3, -1, -1), _SIZE if image_size is None else image_size)
        labels = torch.from_numpy(digits.target.astype(np.int64))
        held_out = torch.zeros(len(labels), dtype=torch.bool)
        generator = np.random.default_rng(0)
        for digit in range(10):
            rows = generator.permutation(np.flatnonzero(digits.target == digit))
            held_out[rows[: round(_TEST_SHARE * len(rows))]] = True
        names = tuple(str(digit) for digit in range(10))
        parts = (ImageSet(images[rows], labels[rows], class_names=names) for rows in (~held_out, held_out))
        return Split(*parts)
