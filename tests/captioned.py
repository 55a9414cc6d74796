"""What tests of text-to-noise methods share: captioned pictures, a small CLIP, a context around it."""

from __future__ import annotations

import torch
from conftest import fresh_context
from torch.nn import functional

from ue_bench import Context, ImageSet
from ue_bench.trials.environment import Environment
from ue_bench_victims.clip_tiny import ClipTiny

CPU = torch.device("cpu")
INSTALLED = Environment("", "cpu")


def pictures(count: int = 24, size: int = 32, seed: int = 0, captions: int = 2) -> ImageSet:
    """Smooth pictures of three classes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    images = functional.interpolate(coarse, size=(size, size), mode="bilinear")
    texts = tuple(
        tuple(f"a {seed} thing number {i} seen {j} times" for j in range(captions)) for i in range(count)
    )
    labels = torch.arange(count) % 3
    return ImageSet((images * 255).to(torch.uint8), labels, texts, ("cat", "dog", "sea_lion"))


def build_victim(name, classes, image_size, seed, parameters=None, start="own"):
    """A small CLIP, whatever the name."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return ClipTiny(channels=8, width=32, heads=2, token_width=16, embed=32).build(classes, image_size)


def make_context(seed: int = 0, **more) -> Context:
    return fresh_context(seed, build=build_victim, **{"find_public": INSTALLED.find_public, **more})
