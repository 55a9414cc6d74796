"""Untargeted adversarial poisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ue_bench.crafting.adversarial import AdversarialNoise


@dataclass(frozen=True)
class UAP(AdversarialNoise):
    """UAP, untargeted adversarial poisons (Fowl et al., NeurIPS 2021), written from the paper.

    TAP's recipe, surrogate included, with another aim: each image is led away from its own label, wherever
    to. "Universal" adversarial perturbations, one noise for all images, share the abbreviation and nothing
    else. The authors call it brittle: it depends on the surrogate's seed.
    """

    published_names: ClassVar[tuple[str, ...]] = ("UAP",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 3,
            "surrogate_batch_size": 32,
            "iterations": 4,
            "step_size": 4.0,
            "restarts": 2,
        },
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 16,
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "shift": 1.0,
            "iterations": 15,
            "step_size": 1.6,
            "restarts": 2,
        },
    }
    away: ClassVar[bool] = True

    def aim(self, labels: Tensor, classes: int) -> Tensor:
        return labels
