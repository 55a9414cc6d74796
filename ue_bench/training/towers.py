"""A CLIP model as victims, surrogates and noise steps use it: pixels and token ids in, unit vectors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's pixels, [0, 1] units
STD = (0.26862954, 0.26130258, 0.27577711)


class Towers(nn.Module):
    """An image tower and a text tower that map into one space.

    Args:
        clip: has ``encode_image``, ``encode_text`` and ``logit_scale``, as OpenCLIP builds it. Its text tower must be
            causal, and must take its features at the position of the largest token id.
        tokenizer: captions -> int64 [B, context_length]; OpenCLIP's byte-pair encoding.
        image_size: (height, width) that the image tower needs.

    Attributes:
        tower_size: ``image_size``.
        context_length: token ids that a caption is padded to; 77.
        start_token, end_token: ids around each caption; 49406 and 49407. The latter is the largest.
        vocabulary: how many token ids there are; 49408.
        watcher: called with ``image`` or ``text``, what the tower was given and what it returned; or None.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, clip: nn.Module, tokenizer: Any, image_size: tuple[int, int]):
        super().__init__()
        self.clip: Any = clip
        self.tokenizer = tokenizer
        self.watcher: Callable[[str, Tensor, Tensor], None] | None = None
        self.tower_size = (int(image_size[0]), int(image_size[1]))
        self.context_length = int(tokenizer.context_length)
        self.start_token, self.end_token = int(tokenizer.sot_token_id), int(tokenizer.eot_token_id)
        self.vocabulary = int(self.token_embedding.num_embeddings)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        transformer = getattr(getattr(clip, "text", clip), "transformer", None)
        if isinstance(transformer, nn.Module):
            transformer.register_forward_pre_hook(_fit_mask, with_kwargs=True)

    @property
    def token_embedding(self) -> nn.Embedding:
        """The text tower's token embedding; hooks on it give gradients per token."""
        return (self.clip.text if hasattr(self.clip, "text") else self.clip).token_embedding

    @property
    def scale(self) -> Tensor:
        """Scalar: the inverse temperature, ``exp(logit_scale)``."""
        return self.clip.logit_scale.exp()

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(image features, text features, scale)."""
        return self.encode_image(images), self.encode_text(tokens), self.scale

    def encode_image(self, images: Tensor) -> Tensor:
        """float32 [B, D], rows of length 1.

        Args:
            images: float [B, 3, H, W] in [0, 1], of any size: resized to ``tower_size`` if they differ from it.
        """
        if tuple(images.shape[2:]) != self.tower_size:
            images = functional.interpolate(images, self.tower_size, mode="bicubic", antialias=True)
        features = self.clip.encode_image((images - self.mean) / self.std)
        if self.watcher:
            self.watcher("image", images, features)
        return functional.normalize(features.to(torch.float32), dim=1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """float32 [B, D], rows of length 1.

        Args:
            tokens: int64 [B, L], L at most ``context_length``. Padding behind the end token changes nothing, so
                a batch may be cut with ``trim``.
        """
        if hasattr(self.clip, "positional_embedding"):  # OpenCLIP's plain model takes full-length rows only
            tokens = functional.pad(tokens, (0, self.context_length - tokens.shape[1]))
        features = self.clip.encode_text(tokens)
        if self.watcher:
            self.watcher("text", tokens, features)
        return functional.normalize(features.to(torch.float32), dim=1)

    def tokenize(self, captions: Sequence[str]) -> Tensor:
        """int64 [B, context_length]; captions that are too long are cut and keep their end token."""
        return self.tokenizer(list(captions))

    def decode(self, tokens: Sequence[int]) -> str:
        """The words of token ids, up to an end token if there is one."""
        ids = [int(token) for token in tokens]
        ids = ids[: ids.index(self.end_token)] if self.end_token in ids else ids
        return self.tokenizer.decode([token for token in ids if token != self.start_token]).strip()


def trim(tokens: Tensor) -> Tensor:
    """int64 [B, L]: token ids, cut after the longest caption's end token, which has the largest id.

    Example: two captions of 5 and 9 tokens in rows of 77 become rows of 9.
    """
    return tokens[:, : int(tokens.argmax(dim=1).max()) + 1] if len(tokens) else tokens


def contrastive_loss(image_features: Tensor, text_features: Tensor, scale: Tensor) -> Tensor:
    """Scalar float32: CLIP's loss. Each image has to find its caption in the batch, and each caption its image.

    Another caption of the same image counts as a negative, as in the field's baseline.

    Args:
        image_features, text_features: float [B, D], rows of length 1; equal rows belong together.
        scale: the inverse temperature. If it is 0, or if all features are equal, the loss is ``log(B)``.
    """
    with torch.autocast(image_features.device.type, enabled=False):
        logits = (
            scale.to(torch.float32) * image_features.to(torch.float32) @ text_features.to(torch.float32).T
        )
        own = torch.arange(len(logits), device=logits.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def _fit_mask(transformer: nn.Module, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Cuts the causal mask, which is made for full-length rows, to the length of the input."""
    mask = named.get("attn_mask")
    length = inputs[0].shape[1]
    if mask is not None and mask.shape[-1] > length:
        named = {**named, "attn_mask": mask[..., :length, :length]}
    return inputs, named
