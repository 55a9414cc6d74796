"""Random noise of the same budget: the control that every table needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from ue_bench import Access, Budget, Context, Method, Norms, Perturbation, ProtectorView
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.whole_noise import new_noise

CHUNK = 4096  # noises drawn at once


@dataclass(frozen=True)
class Random(Method):
    """Random noise, the control of EM's paper (Huang et al., ICLR 2021), written from the paper.

    ``sign`` spends the whole budget on every value, which makes it the stronger control; ``uniform`` is what
    the authors' code draws. Image-wise noise is harmless; class-wise noise protects in part, because it marks the
    class. With an l2 budget every noise has a norm of the radius and a uniformly drawn direction. With an l0 budget
    of k it sets k random pixels to random corners of the RGB cube.
    """

    budget: Annotated[Budget, Norms("linf", "l2", "l0")] = Budget(
        "linf", 8
    )  # linf, steps of 1/255 (EM's paper), l2 or l0
    granularity: str = "image"  # image, class or pair: which examples share one noise
    distribution: Literal["sign", "uniform"] = "sign"  # linf only; uniform: as EM's code draws it

    access: ClassVar[Access] = Access.LABELS  # read only for class-wise noise
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class", "pair")
    variants: ClassVar[frozenset[str]] = frozenset({"distribution"})
    control: ClassVar[str] = "random"
    cost: ClassVar[str] = "nothing"

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        rows = view.rows(self.granularity)
        noise = new_noise(int(rows.max()) + 1, view.image_size, self.budget.most_steps)
        for chunk in noise.split(CHUNK):
            self._fill(chunk, context.generator)
        return Perturbation(noise, rows, self.budget)

    def _fill(self, noise: Tensor, generator: torch.Generator) -> None:
        """Draws ``noise``, int8 or int16 [R, 3, H, W], in place."""
        if self.budget.norm == "l2":
            delta = torch.randn(noise.shape, generator=generator)
            delta *= self.budget.radius / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            noise.copy_(quantise(delta, self.budget))
            return
        radius = int(self.budget.radius)
        if self.budget.norm == "l0":
            places = torch.rand(len(noise), math.prod(noise.shape[2:]), generator=generator)
            places = places.topk(min(radius, places.shape[1])).indices[:, None].expand(-1, 3, -1)
            # Clipping turns 255 steps up or down into the colour itself.
            colours = torch.randint(0, 2, places.shape, generator=generator) * 510 - 255
            noise.zero_().flatten(2).scatter_(2, places, colours.to(noise.dtype))
            return
        if self.distribution == "sign":
            noise.random_(0, 2, generator=generator).mul_(2).sub_(1).mul_(radius)
        else:
            noise.copy_(torch.empty(noise.shape).uniform_(-radius, radius, generator=generator).round_())
