"""A small ViT for CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench import Count, Positive, Recipe

from ._families import adaptive
from .vit_small import ViTSmall


@dataclass(frozen=True)
class ViTTiny(ViTSmall):
    """vit_small at a width for CPUs: patch 4 at 32 pixels, tokens averaged.

    No paper's victim: it shows in minutes on two CPU cores whether noise works on transformers. The
    grid stays 8x8 at every image size. The recipe is vit_small's with twice its learning rate: AdamW 1e-3,
    weight decay 0.05, warm-up, clipped gradients.
    """

    width: Count = 64  # dimensions of a token, a multiple of heads
    depth: Count = 4  # transformer blocks
    heads: Count = 2  # attention heads per block
    mlp_ratio: Positive = 2.0  # hidden width of a block's MLP, in multiples of width

    def recipe(self, recipe: Recipe) -> Recipe:
        return adaptive(recipe, 1e-3)
