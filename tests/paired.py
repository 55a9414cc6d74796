"""Small (image, caption) pairs, a small CLIP, and a method's run on them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import conftest
import torch
from conftest import Memory, run_method
from torch.nn import functional

from ue_bench import Context, ImageSet, Method, Perturbation, ProtectorView
from ue_bench.crafting.pgd import frozen
from ue_bench.training.pairs import put_in_front
from ue_bench.training.towers import Towers, contrastive_loss
from ue_bench_victims.clip_tiny import ClipTiny

COLOURS = ("red", "green", "blue", "pale", "dark", "golden")
THINGS = ("dog", "horse", "tree", "boat", "house", "child", "street")


def small_clip(seed: int = 0, size: int = 16) -> Towers:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        victim = ClipTiny(channels=8, width=32, layers=1, heads=2, token_width=16, embed=32)
        return victim.build(0, (size, size)).to(memory_format=torch.channels_last)


def described(count: int = 20, captions: int = 2, size: int = 16, seed: int = 0) -> ImageSet:
    """Soft blots of colour with captions of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    images = functional.interpolate(coarse, size=size, mode="bilinear").mul(255).round().to(torch.uint8)
    words = [
        tuple(
            f"a {COLOURS[(i + j) % 6]} {THINGS[i % 7]}" + " by the sea" * j + f" {i}" for j in range(captions)
        )
        for i in range(count)
    ]
    return ImageSet(images, None, tuple(words), None)


def fresh_context(seed: int = 0, shelf: Memory | None = None) -> Context:
    """Surrogates are small CLIP models."""

    def build(name, classes, image_size, seed, parameters=None, start="pytorch"):
        return small_clip(seed, image_size[0])

    return conftest.fresh_context(seed, shelf, build)


@dataclass
class Run:
    """One call of ``protect``: what went in, what came out, and the surrogate at its end."""

    data: ImageSet
    noise: Perturbation
    context: Context
    surrogate: Towers

    @functools.cached_property
    def tokens(self) -> torch.Tensor:
        return self.surrogate.tokenize([text for texts in self.data.captions for text in texts])

    def loss(self, protected: bool, aim: torch.Tensor | None = None) -> float:
        """CLIP's loss over all pairs as one batch, clean or as published in 8 bits."""
        images, tokens = self.data.images[self.data.pairs].short(), self.tokens
        if aim is not None:
            tokens = tokens[aim]
        if protected:
            images = (images + self.noise.noise[self.noise.rows]).clamp(0, 255)
            if self.noise.trigger_tokens is not None:
                tokens = put_in_front(tokens, self.noise.trigger_tokens, self.surrogate.end_token)
        with frozen(self.surrogate) as model, torch.no_grad():
            return float(
                contrastive_loss(model.encode_image(images / 255), model.encode_text(tokens), model.scale)
            )


def view_of(method: Method, data: ImageSet) -> ProtectorView:
    return ProtectorView(data, method.access, "contrastive", type(method).__name__.lower())


def protect(method: Method, data: ImageSet, context: Context | None = None) -> Run:
    context = context or fresh_context()
    noise, built = run_method(method, view_of(method, data), context)
    return Run(data, noise, context, built[-1])
