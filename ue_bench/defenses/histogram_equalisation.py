"""Histogram equalisation: spreads the levels of each colour channel of a training image evenly."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.transforms.v2 import functional

from ue_bench import Defense


@dataclass(frozen=True)
class HistogramEqualisation(Defense):
    """Histogram equalisation (an adaptive defense in the code of DUNE, Wang et al., ICML 2026), once, before training.

    Channel by channel, as PIL does it.
    """

    def images_once(self, images: Tensor) -> Tensor:
        return functional.equalize(images)
