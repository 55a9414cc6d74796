"""No protection: the control that shows what the victim learns from the images as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView
from ue_bench.errors import ConfigError


@dataclass(frozen=True)
class Clean(Method):
    """No protection: the clean control of every table; needs no paper."""

    budget: Budget = Budget("linf", 0)  # none: images stay as they are

    access: ClassVar[Access] = Access.NOTHING
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class", "pair")
    control: ClassVar[str] = "clean"
    cost: ClassVar[str] = "nothing"
    published_names: ClassVar[tuple[str, ...]] = ("No Protection",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.budget.empty:
            raise ConfigError(f"clean adds no noise, so its budget is linf:0, not {self.budget}")

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        noise = torch.zeros(1, 3, *view.image_size, dtype=torch.int8)
        return Perturbation(noise, rows=torch.zeros(len(view), dtype=torch.int64), budget=self.budget)
