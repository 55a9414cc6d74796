"""What victims of one family share: small-image stems, patch sizes, and the recipe that the family needs.

The registry skips files that begin with an underscore: this one holds no victim.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ue_bench import Recipe, Victim
from ue_bench.errors import ConfigError

SMALL = 64  # pixels: a network gets its small-image stem if the longer side is at most this


def is_small(image_size: tuple[int, int]) -> bool:
    """Whether images of (height, width) pixels get the small-image stem."""
    return max(image_size) <= SMALL


def small_stem(channels: int, stride: int = 1) -> nn.Conv2d:
    """The field's first layer for small images: 3x3 convolution, no bias, He's initialisation (fan-out)."""
    convolution = nn.Conv2d(3, channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def patch_for(image_size: tuple[int, int], grid: int) -> int:
    """The patch size in pixels that divides the shorter side into as nearly ``grid`` tokens as possible.

    Patch sizes must divide both sides; of two that are equally near, the smaller is taken. Example: 2 for
    32-pixel images and a grid of 14, which gives 16x16 tokens.

    Raises:
        ConfigError: if no patch size gives half to twice as many tokens per side as wanted.
    """
    common = math.gcd(*image_size)
    sizes = [size for size in range(1, common + 1) if common % size == 0]
    best = min(sizes, key=lambda size: abs(min(image_size) // size - grid))
    if not grid <= 2 * (min(image_size) // best) <= 4 * grid:
        raise ConfigError(
            f"images of {image_size[0]}x{image_size[1]} pixels cannot be cut into patches for about "
            f"{grid}x{grid} tokens: take an image_size with many divisors, such as 32, 64, 96 or 224"
        )
    return best


def calm(recipe: Recipe) -> Recipe:
    """The recipe for deep networks without skip connections: an SGD learning rate of at most 0.05, with warm-up."""
    if recipe.optimizer != "sgd":
        return recipe
    return dataclasses.replace(
        recipe,
        learning_rate=min(recipe.learning_rate, 0.05),
        warmup_epochs=max(recipe.warmup_epochs, 0.05 * recipe.epochs),
    )


def adaptive(recipe: Recipe, learning_rate: float) -> Recipe:
    """The recipe for transformers: AdamW instead of SGD, warm-up, clipped gradients; all else is unchanged."""
    if recipe.optimizer != "sgd":
        return recipe
    return dataclasses.replace(
        recipe,
        optimizer="adamw",
        learning_rate=learning_rate,
        weight_decay=0.05,
        warmup_epochs=max(recipe.warmup_epochs, 0.1 * recipe.epochs),
        gradient_clip=recipe.gradient_clip or 1.0,
    )


@dataclass(frozen=True)
class Classifier(Victim):
    """An image classifier, whose first weights can be drawn in other ways than its own."""

    start: Literal["own", "pytorch", "torchvision"] = (
        "own"  # first weights: its own (timm's: the last batch norm of each residual block at 0) or a library's
    )

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """Its own start was the only one once."""
        return frozenset({"start"} if self.start == "own" else ())


@dataclass(frozen=True)
class ResNetFamily(Classifier):
    """timm's ResNets: a 3x3 stride-1 stem without max-pool up to 64 pixels, the original stem above."""

    architecture: ClassVar[str]

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        model = timm.create_model(self.architecture, num_classes=classes)
        if is_small(image_size):
            model.conv1 = small_stem(64)
            model.maxpool = nn.Identity()
        return model


@dataclass(frozen=True)
class VGGFamily(Classifier):
    """timm's VGGs with batch norm: a linear head after global pooling; the original head from 224 pixels."""

    architecture: ClassVar[str]

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        if min(image_size) >= 224:  # the features are 7x7, as the fully connected layers need them
            return timm.create_model(self.architecture, num_classes=classes, drop_rate=0.5)
        # The fully connected layers are dropped right away, so they are made as small as possible.
        model = timm.create_model(self.architecture, num_classes=classes, mlp_ratio=1 / 4096)
        model.pre_logits = nn.Identity()
        linear = nn.Linear(model.num_features, classes)
        nn.init.normal_(linear.weight, 0, 0.01)
        nn.init.zeros_(linear.bias)
        model.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
        return model

    def recipe(self, recipe: Recipe) -> Recipe:
        if recipe.optimizer != "sgd":
            return recipe
        return dataclasses.replace(calm(recipe), gradient_clip=recipe.gradient_clip or 1.0)


@dataclass(frozen=True)
class ViTFamily(Classifier):
    """timm's ViT-Base with patches scaled so that the grid of tokens stays near that at 224 pixels."""

    grid: ClassVar[int]

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        patch = patch_for(image_size, self.grid)
        return timm.create_model(
            "vit_base_patch16_224", num_classes=classes, img_size=image_size, patch_size=patch
        )

    def recipe(self, recipe: Recipe) -> Recipe:
        return adaptive(recipe, 5e-4)
