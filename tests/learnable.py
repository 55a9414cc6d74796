"""Pictures that a small surrogate learns in seconds and loses within 8/255, and a method's run on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from conftest import fresh_context, run_method
from torch import nn
from torch.nn import functional

from ue_bench import Context, ImageSet, Method, Perturbation, ProtectorView


def pictures(count: int = 240, seed: int = 0, contrast: float = 0.08) -> ImageSet:
    """16 pixels square, four classes: pale blots, which each class tints in its own way, the same in a mirror.

    Blots and tints are so faint that 8/255 can turn one class into another.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    tint = torch.rand(4, 3, 4, 2, generator=generator)
    tint = torch.cat([tint, tint.flip(3)], dim=3)
    coarse = 0.4 + contrast * (tint[labels] + torch.rand(count, 3, 4, 4, generator=generator))
    images = functional.interpolate(coarse, size=16, mode="bilinear").mul(255).round().to(torch.uint8)
    return ImageSet(images, labels, None, tuple("abcd"))


def blots() -> ImageSet:
    """256 soft blots of colour, 16 pixels square, whose four labels say nothing about them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(256, 3, 4, 4, generator=generator)
    images = functional.interpolate(coarse, size=16, mode="bilinear").mul(255).to(torch.uint8)
    return ImageSet(images, torch.randint(0, 4, (256,), generator=generator), None, tuple("abcd"))


@dataclass
class Run:
    """One call of ``protect``: what went in, what came out, and the surrogate at its end."""

    data: ImageSet
    noise: Perturbation
    context: Context
    surrogate: nn.Module

    def logits(self, protected: bool) -> torch.Tensor:
        """The surrogate's opinion of the 8-bit images, clean or as published."""
        images = self.data.images.short()
        if protected:
            images = (images + self.noise.noise[self.noise.rows]).clamp(0, 255)
        with torch.no_grad():
            return self.surrogate.eval()(images / 255)

    def accuracy(self, protected: bool) -> float:
        """In percent."""
        return 100 * float((self.logits(protected).argmax(1) == self.data.labels).float().mean())

    def losses(self, protected: bool) -> torch.Tensor:
        """float [N]: cross-entropy to the true labels."""
        return functional.cross_entropy(self.logits(protected), self.data.labels, reduction="none")


def protect(method: Method, data: ImageSet, context: Context | None = None) -> Run:
    context = context or fresh_context()
    view = ProtectorView(data, method.access, "supervised", type(method).__name__.lower())
    noise, built = run_method(method, view, context)
    return Run(data, noise, context, built[-1])
