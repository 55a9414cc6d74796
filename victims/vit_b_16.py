"""ViT-B/16, its patches scaled with the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._families import ViTFamily


@dataclass(frozen=True)
class ViTB16(ViTFamily):
    """ViT-B/16 (Dosovitskiy et al., ICLR 2021), trained from scratch, its patches scaled with the image.

    timm's model, about 86 million weights. At 224 pixels a patch has 16 pixels and the grid 14x14 tokens;
    other sizes get the patch whose grid comes nearest: 16x16 tokens at 32, 64 and 96 pixels. The images are
    not resized. The recipe's SGD becomes AdamW: learning rate 5e-4, weight decay 0.05, a tenth of the epochs
    warm-up, gradients clipped at norm 1.
    """

    grid: ClassVar[int] = 14  # tokens per side at 224 pixels
