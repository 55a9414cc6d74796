"""ViT-B/32, its patches scaled with the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._families import ViTFamily


@dataclass(frozen=True)
class ViTB32(ViTFamily):
    """ViT-B/32 (Dosovitskiy et al., ICLR 2021), trained from scratch, its patches scaled with the image.

    timm's model, about 86 million weights. At 224 pixels a patch has 32 pixels and the grid 7x7 tokens; other
    sizes get the patch whose grid comes nearest: 8x8 tokens at 32, 64 and 96 pixels. The images are not
    resized. The recipe's SGD becomes AdamW: learning rate 5e-4, weight decay 0.05, a tenth of the epochs
    warm-up, gradients clipped at norm 1.
    """

    grid: ClassVar[int] = 7  # tokens per side at 224 pixels
