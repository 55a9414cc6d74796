"""Any of timm's models, started from weights in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ue_bench import Recipe
from ue_bench.errors import ConfigError

from .timm import Timm


@dataclass(frozen=True)
class Pretrained(Timm):
    """Any model of timm with weights from a file, named pretrained:NAME, such as pretrained:resnet18.

    A hacker who fine-tunes ("priors backfire", BAIT, ICLR 2026). All layers are loaded but the last one, which is new;
    all of them learn. Pixels are normalised as timm says the weights expect, and the learning rate is a hundredth: SGD
    0.001 (BAIT's victims) where the recipe has 0.1. Transformers get AdamW with 1e-5. Nothing is downloaded: timm's
    names of weights are at huggingface.co/timm.
    """

    start: Literal["own"] = "own"  # the first weights of the last layer are timm's own
    weights: str = ""  # safetensors, or a state dict of torch's: a file

    files: ClassVar[frozenset[str]] = frozenset({"weights"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weights:
            raise ConfigError(
                f"pretrained:{self.architecture} needs a file: pretrained:{self.architecture}.weights=FILE, or take "
                f"timm:{self.architecture}, which starts from scratch"
            )

    def unavailable(self) -> str:
        return "" if Path(self.weights).is_file() else f"there is no file {self.weights}: set weights=FILE"

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        model = super().build(classes, image_size)
        config: Mapping[str, object] = getattr(model, "default_cfg", {})
        own, known = model.state_dict(), _read(self.weights)
        heads = config.get("classifier") or ()
        names = (heads,) if isinstance(heads, str) else tuple(heads)  # type: ignore[arg-type]
        last = {name for name in own if any(name.startswith(f"{head}.") for head in names)}
        for name in sorted(own.keys() - last):
            found = known.get(name)
            if found is None or found.shape != own[name].shape:
                what = "no" if found is None else f"{list(found.shape)} for"
                raise ConfigError(
                    f"the weights {self.weights} are not those of {self.architecture} at {image_size[0]} x "
                    f"{image_size[1]} pixels: they have {what} {name} {list(own[name].shape)}. Give the weights of "
                    "this model, and image_size= as they were trained with"
                )
        model.load_state_dict({**own, **{name: known[name] for name in own.keys() - last}})
        return nn.Sequential(_Normalised(config.get("mean"), config.get("std")), model)

    def recipe(self, recipe: Recipe) -> Recipe:
        usual = super().recipe(recipe)
        return replace(usual, learning_rate=usual.learning_rate / 100)


class _Normalised(nn.Module):
    """Pixels in [0, 1] as the weights expect them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean, deviation):
        super().__init__()
        for name, values, usual in (("mean", mean, 0.0), ("deviation", deviation, 1.0)):
            numbers = torch.tensor(values if values is not None else [usual] * 3).view(1, 3, 1, 1)
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


def _read(path: str) -> Mapping[str, Tensor]:
    """Tensors by name from safetensors, or from a state dict that torch has saved."""
    import safetensors.torch

    try:
        if path.endswith(".safetensors"):
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"the weights {path} cannot be read: {error}. Give safetensors or a state dict"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"the weights {path} are no state dict: give safetensors, or torch.save of one")
    return found
