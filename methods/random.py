"""Random noise of the same budget: the control that every table needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView
from ue_bench.errors import ConfigError, unknown

DISTRIBUTIONS = ("sign", "uniform")
CHUNK = 4096  # noises drawn at once


@dataclass(frozen=True)
class Random(Method):
    """Random noise, the control of EM's paper (Huang et al., ICLR 2021), written from the paper.

    ``sign`` spends the whole budget at every value, which makes it the stronger control; ``uniform`` is what
    the authors' code draws. Image-wise noise is harmless; class-wise noise works in part: it marks the class.
    """

    budget: Budget = Budget("linf", 8)  # steps of 1/255; EM's paper
    granularity: str = "image"  # image, class or pair: which examples share one noise
    distribution: str = "sign"  # sign: -radius or +radius; uniform: U(-radius, radius), as EM's code draws it

    access: ClassVar[Access] = Access.LABELS  # read only for class-wise noise
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class", "pair")
    cost: ClassVar[str] = "nothing"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget.norm != "linf" or self.budget.signs != "both":
            raise ConfigError(f"random noise needs an linf budget such as linf:8, not {self.budget}")
        if self.distribution not in DISTRIBUTIONS:
            raise unknown("distribution", self.distribution, DISTRIBUTIONS, "ue-bench show method random")

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        rows = view.rows(self.granularity)
        dtype = torch.int8 if self.budget.radius <= 127 else torch.int16
        noise = torch.empty(int(rows.max()) + 1, 3, *view.image_size, dtype=dtype)
        for chunk in noise.split(CHUNK):
            self._fill(chunk, context.generator)
        return Perturbation(noise, rows, self.budget)

    def _fill(self, noise: Tensor, generator: torch.Generator) -> None:
        """Draws ``noise``, int8 or int16 [R, 3, H, W], in place."""
        radius = int(self.budget.radius)
        if self.distribution == "sign":
            noise.random_(0, 2, generator=generator).mul_(2).sub_(1).mul_(radius)
        else:
            noise.copy_(torch.empty(noise.shape).uniform_(-radius, radius, generator=generator).round_())
