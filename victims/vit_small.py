"""A small ViT that learns on 32x32 images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ue_bench import Count, Positive, Recipe

from ._families import Classifier, adaptive, patch_for


@dataclass(frozen=True)
class ViTSmall(Classifier):
    """A ViT (Dosovitskiy et al., ICLR 2021) made for small images: patch 4 at 32 pixels, tokens averaged.

    timm's VisionTransformer with its own width and depth, 10.7 million weights; no paper's model. The patch
    grows with the image, so that the grid stays 8x8 (12 pixels at 96, 28 at 224). The classifier reads the
    mean of the tokens. The recipe's SGD becomes AdamW: learning rate 5e-4, weight decay 0.05, a tenth of the
    epochs warm-up, gradients clipped at norm 1.
    """

    width: Count = 384  # dimensions of a token, a multiple of heads
    depth: Count = 6  # transformer blocks
    heads: Count = 6  # attention heads per block
    grid: Count = 8  # tokens per side
    mlp_ratio: Positive = 4.0  # hidden width of a block's MLP, in multiples of width

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        return timm.create_model(
            "vit_small_patch16_224",
            num_classes=classes,
            img_size=image_size,
            patch_size=patch_for(image_size, self.grid),
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            class_token=False,
            global_pool="avg",
        )

    def recipe(self, recipe: Recipe) -> Recipe:
        return adaptive(recipe, 5e-4)
