"""Feature extractors that need no labels: loaded by name or from a file, or trained to predict rotations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.contracts.context import Context
from ue_bench.contracts.defense import Defense
from ue_bench.contracts.view import ProtectorView
from ue_bench.crafting.resident import Index, ResidentImages
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import ConfigError, UnavailableError
from ue_bench.seeds import derive
from ue_bench.training.epochs import autocast
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train

from .crops import resize

SOURCES = ("timm", "clip", "rotation")
SAFE_TIMM = (1, 0, 26)  # the first version that reads checkpoints as weights only
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AT_ONCE = 256  # images per batch


class Features(nn.Module):
    """A model without its head: float [B, 3, h, w] in [0, 1] -> float32 [B, D], differentiable, frozen.

    Args:
        body: [B, 3, H, W] -> [B, D].
        mean, std: of the normalisation that ``body`` was trained with, [0, 1] units.
        size: pixels to which images are resized first; None: no resizing.
        bf16: compute in bf16 where the device gains by it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        size: int | None = None,
        bf16: bool = True,
    ):
        super().__init__()
        self.body, self.size, self.bf16 = body, size, bf16
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        if self.size:
            images = resize(images, (self.size, self.size))
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(images.device, self.bf16):
            features = self.body(images)
        return features.flatten(1).to(torch.float32)

    @torch.no_grad()
    def of(self, images: ResidentImages, noise: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """float32 [N, D] on the CPU: features of all images, as they are or published with noise.

        Args:
            noise: integers [R, 3, H, W], steps of 1/255.
            rows: int64 [N], the noise of each image.
        """
        parts = []
        for start in range(0, len(images), AT_ONCE):
            index: Index = slice(start, start + AT_ONCE)
            shown = images.take(index)
            if noise is not None and rows is not None:
                shown = shown.add_(noise[rows[index]].to(shown) / 255).clamp_(0, 1)
            parts.append(self(shown).cpu())
        return torch.cat(parts)


def source(words: str) -> tuple[str, str]:
    """``timm:resnet50.tv_in1k`` -> (``timm``, ``resnet50.tv_in1k``)."""
    kind, _, name = words.partition(":")
    if kind not in SOURCES or not name:
        raise ConfigError(
            f"a surrogate without labels reads timm:NAME, clip:NAME:WEIGHTS or rotation:VICTIM, not '{words}'"
        )
    return kind, name


def old_timm() -> str:
    """What to install if this version of timm may run code in a checkpoint; "" if it does not."""
    installed = version("timm")
    if tuple(map(int, re.findall(r"\d+", installed)[:3])) >= SAFE_TIMM:
        return ""
    safe = ".".join(map(str, SAFE_TIMM))
    return (
        f"a checkpoint is not read with timm {installed}, since versions before {safe} run code that such a "
        f"file may hold: pip install 'timm>={safe}'"
    )


def loaded(words: str, checkpoint: str, size: int, bf16: bool = True) -> Features:
    """A model with published weights from timm or OpenCLIP; it was made without the labels of the data to protect.

    Args:
        words: ``timm:NAME`` (pooled features) or ``clip:NAME:WEIGHTS`` (image embeddings).
        checkpoint: a file with weights (safetensors or a state dict) instead of a download, or "".
        size: pixels that the model sees.

    Raises:
        UnavailableError: if there is no such file, or the weights cannot be loaded.
    """
    if checkpoint and not Path(checkpoint).is_file():
        raise UnavailableError(f"the surrogate's checkpoint '{checkpoint}' is no file: set checkpoint=FILE")
    kind, name = source(words)
    try:
        return (_timm if kind == "timm" else _clip)(name, checkpoint, size, bf16)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        if checkpoint:
            raise UnavailableError(
                f"'{checkpoint}' does not hold the weights of '{words}' ({reason[:300]}): give the file that "
                "belongs to this architecture, or name the architecture that belongs to this file"
            ) from error
        raise UnavailableError(
            f"the weights of the surrogate '{words}' cannot be loaded ({reason[:300]}). Go online once, or set "
            "checkpoint=FILE to a copy of them, or take surrogate=rotation:VICTIM, which is trained here and "
            "needs none"
        ) from error


def _timm(name: str, checkpoint: str, size: int, bf16: bool) -> Features:
    import timm

    model: Any = timm.create_model(name, pretrained=not checkpoint)
    if checkpoint:  # create_model's checkpoint_path ran any code in the file before timm 1.0.26
        model.load_state_dict(timm.models.load_state_dict(checkpoint, weights_only=True))
    about = model.pretrained_cfg
    model.reset_classifier(0)
    return Features(model, tuple(about["mean"]), tuple(about["std"]), size, bf16)


def _clip(name: str, checkpoint: str, size: int, bf16: bool) -> Features:
    import open_clip

    name, _, weights = name.partition(":")
    model = open_clip.create_model(name, pretrained=checkpoint or weights or "openai")
    eye: Any = model.visual
    mean, std = getattr(eye, "image_mean", None) or CLIP_MEAN, getattr(eye, "image_std", None) or CLIP_STD
    return Features(eye, tuple(mean), tuple(std), size, bf16)


@dataclass(frozen=True)
class Rotations(Defense):
    """Rotates each image by 0, 90, 180 or 270 degrees, and makes the rotation its target."""

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        turns = torch.randint(4, (len(images),), generator=generator, device=images.device)
        turned = torch.stack([images.rot90(turn, (2, 3)) for turn in range(4)])
        images = turned[turns, torch.arange(len(images), device=images.device)]
        images = images.contiguous(memory_format=torch.channels_last)
        return images, functional.one_hot(turns, 4).to(targets.dtype)


def trained_on_rotations(
    view: ProtectorView,
    context: Context,
    name: str,
    recipe: Recipe,
    bf16: bool = True,
    start: str = "pytorch",
) -> Features:
    """Features of a network that is trained to predict rotations of the clean images (Gidaris et al., ICLR 2018).

    It needs access to images only. The store keeps it for all methods that need the same one.

    Args:
        name: of the architecture, in the victims registry.
        start: how its first weights are drawn, see ``Context.surrogate``.
    """
    height, width = view.image_size
    if height != width:
        raise ConfigError(f"rotations need square images, not {width}x{height}: set image_size=")
    model = context.surrogate(name, 4, view.image_size, start=start)

    def make() -> dict[str, Tensor]:
        nothing = torch.zeros(len(view.images), dtype=torch.int64)
        data = ImageSet(view.images, nothing, class_names=("0", "90", "180", "270"))
        curves = train(
            model,
            data,
            recipe,
            device=context.device,
            seed=derive(context.seed, "surrogate order", name),
            defense=Rotations(),
            progress=context.progress,
            checkpoints=context.ledger.checkpoints,
        )
        context.notes["surrogate_train_accuracy_percent"] = curves.train_accuracy[-1]
        return dict(model.state_dict())

    state = context.keep({"surrogate": name, "start": start, "pretext": "rotations", "recipe": recipe}, make)
    model.load_state_dict({key: value.to(context.device) for key, value in state.items()})
    return Features(headless(model), bf16=bf16)


def headless(model: nn.Module) -> nn.Module:
    """The model with its last linear layer replaced by the identity."""
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not last or not last[-1]:
        raise ConfigError(f"{type(model).__name__} ends in no linear layer, so it has no features before it")
    model.set_submodule(last[-1], nn.Identity())
    return model
