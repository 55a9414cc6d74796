"""STL-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ue_bench.datasets._torchvision import Torchvision


@dataclass(frozen=True)
class Stl10(Torchvision):
    """STL-10 (Coates et al., 2011): 5,000 training and 8,000 test images of 10 classes, 96x96.

    Its unlabelled images are not used. Looked for under ``UE_BENCH_DATA`` as stl10/{train,test}.parquet,
    stl10_binary/ or stl10/stl10_binary/, then downloaded by torchvision (2.6 GB).
    """

    title = "STL-10"
    names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    folder = "stl10"
    native = "stl10_binary"

    def open_native(self, root: str, part: str, download: bool) -> tuple[np.ndarray, Any]:
        from torchvision.datasets import STL10

        class Labelled(STL10):
            """Requires the labelled images only: the other 2.8 GB are not needed, so their MD5 sums are not checked."""

            train_list = STL10.train_list[:2]

        stored = Labelled(root, split=part, download=download)
        return stored.data, stored.labels
