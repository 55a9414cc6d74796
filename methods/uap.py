"""Untargeted adversarial poisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ue_bench import Count

from ._adversarial.noise import AdversarialNoise
from ._adversarial.presets import PRESETS


@dataclass(frozen=True)
class UAP(AdversarialNoise):
    """UAP, untargeted adversarial poisons (Fowl et al., NeurIPS 2021), written from the paper.

    It is TAP's recipe, with the same surrogate, but untargeted: the noise only leads each image away from its own
    label. "Universal" adversarial perturbations, one noise for all images, have the same abbreviation but are another
    method. The authors call it brittle: it depends on the surrogate's seed.

    In contrastive runs it is what MEM's paper (Liu et al., ACM MM 2024) calls UAP and T2UE's tables call TAP: a
    few steps up CLIP's loss from zero, against a CLIP trained on the clean pairs like a victim.
    """

    iterations: Count = 250  # sign steps per image and restart; paper. Contrastive: 8, MEM's code

    cost: ClassVar[str] = (
        "40 epochs of a surrogate, shared, then 2,000 forward and backward passes an image (250 a restart); "
        "contrastive: 32 epochs, then 8 passes a pair"
    )
    published_names: ClassVar[tuple[str, ...]] = ("UAP",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"contrastive": {"iterations": 8}}
    away: ClassVar[bool] = True

    def published_as(self, paradigm: str) -> tuple[str, ...]:
        """Its names in the papers' tables; in contrastive runs MEM's UAP, which T2UE's tables call TAP."""
        return ("UAP", "TAP") if paradigm == "contrastive" else self.published_names

    def aim(self, labels: Tensor, classes: int) -> Tensor:
        return labels
