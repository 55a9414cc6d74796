"""CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ue_bench.datasets._torchvision import Torchvision

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Cifar10(Torchvision):
    """CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 10 classes, 32x32.

    Looked for under ``UE_BENCH_DATA`` as cifar10/{train,test}.parquet, cifar-10-batches-py/ or
    cifar10/cifar-10-batches-py/, then downloaded by torchvision (170 MB).
    """

    title = "CIFAR-10"
    names = CLASS_NAMES
    folder = "cifar10"
    native = "cifar-10-batches-py"

    def open_native(self, root: str, part: str, download: bool) -> tuple[np.ndarray, Any]:
        from torchvision.datasets import CIFAR10

        stored = CIFAR10(root, train=part == "train", download=download)
        return stored.data.transpose(0, 3, 1, 2), stored.targets
