"""CIFAR-100."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ue_bench.datasets._torchvision import Torchvision

_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASS_NAMES = tuple(_NAMES.split())


@dataclass(frozen=True)
class Cifar100(Torchvision):
    """CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 100 fine classes, 32x32.

    Looked for under ``UE_BENCH_DATA`` as cifar100/{train,test}.parquet, cifar-100-python/ or
    cifar100/cifar-100-python/, then downloaded by torchvision (170 MB).
    """

    title = "CIFAR-100"
    names = CLASS_NAMES
    folder = "cifar100"
    native = "cifar-100-python"
    label_columns = ("fine_label", "label", "fine_labels")

    def open_native(self, root: str, part: str, download: bool) -> tuple[np.ndarray, Any]:
        from torchvision.datasets import CIFAR100

        stored = CIFAR100(root, train=part == "train", download=download)
        return stored.data.transpose(0, 3, 1, 2), stored.targets
