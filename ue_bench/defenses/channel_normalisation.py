"""Channel normalisation: gives all colour channels of a training image one mean and spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ue_bench import Defense


@dataclass(frozen=True)
class ChannelNormalisation(Defense):
    """Channel normalisation (an adaptive defense in the code of DUNE, Wang et al., ICML 2026), once, before training.

    Each colour channel of an image loses its mean and is divided by its standard deviation; then the image's lowest
    value becomes 0 and its highest 255. Tints of whole images are gone. A channel of one value stays in the middle.
    """

    def images_once(self, images: Tensor) -> Tensor:
        return torch.cat([_normalised(part) for part in images.split(1000)])


def _normalised(images: Tensor) -> Tensor:
    values = images.to(torch.float32)
    spread = values.std(dim=(2, 3), keepdim=True, correction=0)
    values = (values - values.mean(dim=(2, 3), keepdim=True)) / spread.clamp_min(1e-6)
    low, high = (end(dim=(1, 2, 3), keepdim=True) for end in (values.amin, values.amax))
    return ((values - low) / (high - low).clamp_min(1e-6) * 255).round_().to(torch.uint8)
