"""A small CLIP for CPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ue_bench import Count, Victim
from ue_bench.errors import ConfigError

from ._openclip import Towers, tokenizer


@dataclass(frozen=True)
class ClipTiny(Victim):
    """timm's ResNet class with 16-32-64-128 channels and a one-layer causal text tower: for CPUs.

    No paper's victim: it shows in minutes on two CPU cores whether noise works at all. Tokens are embedded in few
    dimensions and then widened, because otherwise half of the work would be on the weights of 49,408 tokens.
    """

    channels: Count = 16  # of the first stage; each further stage has twice as many
    width: Count = 128  # of the text tower
    layers: Count = 1  # of the text tower
    heads: Count = 4  # attention heads of the text tower; must divide width
    token_width: Count = 48  # of the token embedding
    embed: Count = 192  # dimensions of the space that both towers map to
    init: Literal["fresh", "surrogate"] = (
        "fresh"  # surrogate: the first weights of a method's surrogate of this name; diagnostic, no result
    )

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(f"clip_tiny.heads must divide width {self.width}, and {self.heads} does not")
        if self.channels % 2:
            raise ConfigError(f"clip_tiny.channels must be even, not {self.channels}")

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """With weights of its own, it is the victim from before there was a choice."""
        return frozenset({"init"} if self.init == "fresh" else ())

    def build(self, classes: int, image_size: tuple[int, int]) -> Towers:
        return Towers(_Model(self), tokenizer(), image_size)


class _Model(nn.Module):
    """Both towers and the temperature, named as OpenCLIP names them."""

    def __init__(self, sizes: ClipTiny):
        super().__init__()
        import timm  # here, because planning and reporting do not need it, and it takes a second

        self.visual = timm.create_model(
            "resnet10t",
            num_classes=sizes.embed,
            channels=tuple(sizes.channels * 2**stage for stage in range(4)),
            stem_type="deep",
            stem_width=sizes.channels // 2,
            avg_down=False,
        )
        self.visual.conv1 = nn.Conv2d(3, sizes.channels, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(self.visual.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.visual.maxpool = nn.Identity()
        self.text = _TextTower(sizes)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W], normalised -> [B, embed]."""
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """int64 [B, L] -> [B, embed]."""
        return self.text(tokens)


class _TextTower(nn.Module):
    """A causal text tower; its features are taken at the largest token id, the end token."""

    def __init__(self, sizes: ClipTiny):
        super().__init__()
        words, places = tokenizer().vocab_size, tokenizer().context_length
        self.token_embedding = nn.Embedding(words, sizes.token_width)
        self.widen = nn.Linear(sizes.token_width, sizes.width, bias=False)
        self.positional_embedding = nn.Parameter(torch.empty(places, sizes.width).normal_(std=0.01))
        layer = nn.TransformerEncoderLayer(
            sizes.width,
            sizes.heads,
            4 * sizes.width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, sizes.layers, enable_nested_tensor=False)
        self.ln_final = nn.LayerNorm(sizes.width)
        self.text_projection = nn.Linear(sizes.width, sizes.embed, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for name, weight in self.transformer.named_parameters():  # the layers start as copies of one
            if weight.ndim == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5 / (2 if "in_proj" not in name else 1))

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        states = self.widen(self.token_embedding(tokens)) + self.positional_embedding[:length]
        mask = nn.Transformer.generate_square_subsequent_mask(
            length, device=states.device, dtype=states.dtype
        )
        states = self.ln_final(self.transformer(states, mask=mask, is_causal=True))
        ends = states[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=1)]
        return self.text_projection(ends)
