"""Builds OpenCLIP's models as victims and surrogates, from scratch or with weights."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from ue_bench.errors import ConfigError, UnavailableError, nearest, unknown
from ue_bench.training.towers import Towers, contrastive_loss, trim

__all__ = [
    "Towers",
    "build_clip",
    "check_architecture",
    "check_weights",
    "contrastive_loss",
    "tokenizer",
    "trim",
]

FORMATS = (".safetensors", ".pt", ".pth", ".bin")  # read without running any code in them
QUICK = "-quickgelu"  # architectures whose names end so have QuickGELU built in
STRIDE = 32  # pixels: total stride of a ResNet; ViTs have their patch size in their names


def build_clip(
    architecture: str,
    image_size: tuple[int, int],
    *,
    pretrained: str = "",
    checkpoint: str = "",
    quickgelu: bool = False,
    **further: Any,
) -> Towers:
    """An OpenCLIP model as Towers.

    From scratch, the image tower is built for the data's size, rounded up to whole patches. With weights, it keeps the
    size at which they were trained, and Towers resizes the images.

    Args:
        architecture: a name that OpenCLIP knows, such as ``RN50``.
        image_size: (height, width) of the data.
        pretrained: OpenCLIP's tag of weights, or "". They are downloaded unless there is a checkpoint.
        checkpoint: a local file of weights, safetensors or a state dict of torch's, or "".
        quickgelu: QuickGELU instead of GELU; OpenAI's weights need it, unless the architecture has it built in.
        further: arguments of ``open_clip.create_model``, such as ``embed_dim``, ``vision_cfg`` and ``text_cfg``, which
            replace the architecture's own for small studies.

    Raises:
        ConfigError: for names and weights that do not exist or do not fit.
        UnavailableError: if weights cannot be downloaded.
    """
    check_weights(pretrained, checkpoint, quickgelu, architecture)
    check_architecture(architecture, pretrained)
    import open_clip  # here, because planning and reporting do not need it, and it takes two seconds

    settings: dict[str, Any] = dict(further)
    if not pretrained and not checkpoint:
        size = settings["force_image_size"] = _whole_patches(architecture, max(image_size))
        if "vision_cfg" in further:
            settings["vision_cfg"] = {"image_size": size, **further["vision_cfg"]}
    try:
        with _quietly():
            model = open_clip.create_model(
                architecture,
                pretrained=checkpoint or pretrained or None,
                force_quick_gelu=quickgelu,
                force_custom_text=True,  # so that the text tower accepts rows cut to the longest caption
                pretrained_text=False,
                **settings,
            )
    except UserWarning as warning:
        quick, way = quickgelu or architecture.endswith(QUICK), f"set quickgelu={str(not quickgelu).lower()}"
        raise ConfigError(
            f"the weights '{pretrained}' of {architecture} were trained with {'GELU' if quick else 'QuickGELU'}: "
            f"{f'take {architecture.removesuffix(QUICK)}' if architecture.endswith(QUICK) else way}"
        ) from warning
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if checkpoint:
            raise ConfigError(f"checkpoint {checkpoint} does not fit {architecture}: {reason}") from error
        if pretrained:
            raise UnavailableError(
                f"the weights '{pretrained}' of {architecture} cannot be loaded: {reason}. Without a network, give the "
                "file as checkpoint="
            ) from error
        raise ConfigError(f"OpenCLIP cannot build {architecture}: {reason}") from error
    _check_text(architecture, model)
    side = model.visual.image_size
    return Towers(model, tokenizer(), (side, side) if isinstance(side, int) else side)


@functools.cache
def tokenizer() -> Any:
    """OpenAI's byte-pair encoding: captions -> int64 [B, 77]. It comes with OpenCLIP."""
    import open_clip

    return open_clip.get_tokenizer("RN50")


def check_weights(pretrained: str, checkpoint: str, quickgelu: bool, architecture: str = "") -> None:
    """Raises ConfigError for weights that cannot be right, without loading anything.

    If both are given, the checkpoint is loaded, and ``pretrained`` says which weights it holds.
    """
    if pretrained == "openai" and not (quickgelu or architecture.endswith(QUICK)):
        raise ConfigError(
            "OpenAI's weights were trained with QuickGELU: set quickgelu=true with pretrained=openai"
        )
    if checkpoint and not Path(checkpoint).is_file():
        raise ConfigError(f"checkpoint {checkpoint} is not a file")
    if checkpoint and Path(checkpoint).suffix not in FORMATS:
        raise ConfigError(
            f"checkpoint {checkpoint} is none of {', '.join(FORMATS)}: save the state dict with safetensors"
        )


def check_architecture(architecture: str, pretrained: str = "") -> None:
    """Raises ConfigError for an architecture, or a tag of its weights, that OpenCLIP does not know."""
    known = _known()
    if architecture not in known:
        names = {name.lower(): name for name in known}
        close = " or ".join(f"'{names[name]}'" for name in nearest(architecture, names))
        guess = f"did you mean {close}?" if close else "open_clip.list_models() in Python lists all names"
        raise ConfigError(f"unknown architecture of OpenCLIP '{architecture}': {guess}")
    if pretrained and pretrained not in known[architecture]:
        raise unknown(f"weights of {architecture}", pretrained, known[architecture])


@functools.cache
def _known() -> dict[str, list[str]]:
    """Maps each architecture to the tags of its weights."""
    import open_clip

    tags: dict[str, list[str]] = {name: [] for name in open_clip.list_models()}
    for name, tag in open_clip.list_pretrained():
        tags.setdefault(name, []).append(tag)
    return tags


def _whole_patches(architecture: str, size: int) -> int:
    """The data's size in pixels, rounded up to whole patches of the image tower."""
    patch = re.match(r"ViT-\w+?-(\d+)", architecture)
    step = int(patch.group(1)) if patch else STRIDE
    return -(-size // step) * step


def _check_text(architecture: str, model: nn.Module) -> None:
    """Raises ConfigError unless the text tower is causal and takes its features at OpenAI's end token."""
    text: Any = getattr(model, "text", None)
    embedding = getattr(text, "token_embedding", None)
    causal = getattr(text, "attn_mask", None) is not None and getattr(text, "cls_emb", None) is None
    plain = embedding is not None and embedding.num_embeddings == tokenizer().vocab_size
    if not (
        plain and causal and text.pool_type == "argmax" and text.context_length == tokenizer().context_length
    ):
        raise ConfigError(
            f"{architecture} reads captions in another way than CLIP: take an architecture with CLIP's text tower, "
            "such as RN50, ViT-B-32 or ViT-L-14"
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences OpenCLIP's warning about random weights, and makes its warning about QuickGELU an error."""
    root, nothing, before = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(nothing)
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(nothing)
