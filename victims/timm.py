"""Any of timm's models, by its name there."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ue_bench import Count, Recipe
from ue_bench.errors import ConfigError, nearest, unknown

from ._families import Classifier, adaptive

# Sizes in pixels that are tried in turn if the data's size does not work.
SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 299, 320, 384, 448, 512)


@dataclass(frozen=True)
class Timm(Classifier):
    """Any model of timm (Wightman, 2019) from scratch, named timm:NAME, such as timm:convnext_atto.

    The architecture is timm's own, without a small-image stem. Models that have an argument for the image size get it;
    if a model does not accept the size, the trial fails and names a size that works. Early layers may shrink small
    images to one pixel: a smaller patch_size helps transformers, and other networks learn more from
    image_size=64 or 96. Models with batch norm and no layer norm keep the recipe. All others (transformers,
    ConvNeXt, mixers) get AdamW instead of SGD: learning rate 1e-3, weight decay 0.05, a tenth of the epochs
    warm-up, gradients clipped at norm 1.
    """

    argument: ClassVar[str] = "architecture"

    architecture: str = ""  # a name in timm.list_models(), without the tag of pretrained weights
    patch_size: Count | None = None  # pixels, for models that have patches; None: the architecture's own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture not in _architectures():
            name, _, tag = self.architecture.partition(".")
            if tag and name in _architectures():
                raise ConfigError(
                    f"timm:{self.architecture} names pretrained weights, but victims start from scratch: "
                    f"say timm:{name}"
                )
            if not nearest(self.architecture, _architectures()):
                raise ConfigError(
                    f"unknown architecture of timm '{self.architecture}': "
                    "timm.list_models() in Python lists all names"
                )
            raise unknown("architecture of timm", self.architecture, _architectures())

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        model, problem = self._try(classes, image_size)
        if model is not None:
            return model
        larger = (size for size in SIZES if size > min(image_size))
        works = next((size for size in larger if self._try(classes, (size, size))[0] is not None), None)
        advice = (
            f"image_size={works} works"
            if works
            else "no larger one up to 512 does either: take another model"
        )
        patches = f" in patches of {self.patch_size}" if self.patch_size else ""
        raise ConfigError(
            f"timm:{self.architecture} does not take images of {image_size[0]}x{image_size[1]} pixels{patches}: "
            f"{advice} (timm says: {problem})"
        )

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe if _suits_sgd(self.architecture) else adaptive(recipe, 1e-3)

    def _try(self, classes: int, image_size: tuple[int, int]) -> tuple[nn.Module | None, str]:
        """(the model, "") if it maps images of this size to logits, else (None, the reason)."""
        patch = {} if self.patch_size is None else {"patch_size": self.patch_size}
        try:
            try:
                model = _create(self.architecture, num_classes=classes, img_size=image_size, **patch)
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
                model = _create(self.architecture, num_classes=classes, **patch)
            with torch.no_grad():
                logits = model.eval()(torch.zeros(2, 3, *image_size))
        except (AssertionError, IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            return None, " ".join(str(error).split()) or type(error).__name__
        if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
            return None, "it does not give one row of logits an image"
        return model.train(), ""


def _create(name: str, **settings: Any) -> nn.Module:
    import timm  # here, because planning and reporting need it only for these victims, and it takes a second

    return timm.create_model(name, **settings)


@functools.cache
def _architectures() -> frozenset[str]:
    import timm

    return frozenset(timm.list_models())


@functools.cache
def _suits_sgd(architecture: str) -> bool:
    with torch.random.fork_rng(devices=[]):
        layers = list(_create(architecture).modules())
    batch_norm = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in layers)
    return batch_norm and not any(isinstance(layer, nn.LayerNorm) for layer in layers)
