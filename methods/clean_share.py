"""Training on the unprotected images only: the control that protection of a part has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView
from ue_bench.errors import ConfigError


@dataclass(frozen=True)
class CleanShare(Method):
    """The clean share alone: the images that other methods protect are withheld, and the victim trains on the rest.

    This is the control for poison ratios below 1; CUDA's paper (Sadasivan et al., CVPR 2023) prints it for its method.
    Protection of a share works if the victim does no better than here, where it never saw those images. The victim
    trains for as many epochs as with other methods, so for fewer steps.
    """

    budget: Budget = Budget("linf", 0)  # none: what is published is clean

    access: ClassVar[Access] = Access.NOTHING
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class", "pair")
    withholds: ClassVar[bool] = True
    control: ClassVar[str] = "share"
    cost: ClassVar[str] = "nothing"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.budget.empty:
            raise ConfigError(f"clean_share adds no noise, so its budget is linf:0, not {self.budget}")

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        noise = torch.zeros(1, 3, *view.image_size, dtype=torch.int8)
        return Perturbation(noise, rows=torch.zeros(len(view), dtype=torch.int64), budget=self.budget)
