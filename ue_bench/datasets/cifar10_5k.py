"""A tenth of CIFAR-10, without loss."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench.datasets._torchvision import Published
from ue_bench.datasets.cifar10 import CLASS_NAMES


@dataclass(frozen=True)
class Cifar10Tenth(Published):
    """The first 1,017 images of each CIFAR-10 batch, lossless: 5,085 training and 1,017 test images, 32x32.

    Looked for under ``UE_BENCH_DATA`` as cifar10-5k/{train,test}.parquet.
    """

    title = "CIFAR-10 5k"
    names = CLASS_NAMES
    folder = "cifar10-5k"
