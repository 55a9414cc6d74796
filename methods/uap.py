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

    In contrastive runs it is what MEM's paper (Liu et al., ACM MM 2024) calls UAP and T2UE's tables call TAP: a
    few steps up CLIP's loss from zero, against a CLIP trained on the clean pairs as a victim is.
    """

    surrogate: str | None = (
        None  # a victim, trained on clean data. None: resnet18, contrastive clip_rn50 (papers)
    )
    iterations: int | None = (
        None  # sign steps an image and restart. None: 250 (paper), contrastive 8 (MEM's code)
    )

    cost: ClassVar[str] = (
        "40 epochs of a surrogate, shared, then 2,000 forward and backward passes an image (250 a restart); "
        "contrastive: 32 epochs, then 8 passes a pair"
    )
    published_names: ClassVar[tuple[str, ...]] = ("UAP",)
    # As TAP's, so that one surrogate serves both.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 3,
            "surrogate_batch_size": 32,
            "iterations": 4,
            "step_size": 4.0,
            "restarts": 2,
        },
        # A surrogate this small learns little from images that are shifted far; small batches help it.
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 16,
            "surrogate_batch_size": 32,
            "warmup_epochs": 1.0,
            "shift": 0.5,
            "iterations": 10,
            "step_size": 2.0,
            "restarts": 2,
        },
        "contrastive smoke": {
            "surrogate": "clip_tiny",
            "surrogate_epochs": 1,
            "surrogate_batch_size": 32,
            "batch_size": 32,
            "iterations": 2,
            "step_size": 4.0,
        },
        "contrastive laptop": {  # as clip_tiny is trained as a victim
            "surrogate": "clip_tiny",
            "surrogate_epochs": 5,
            "surrogate_batch_size": 64,
            "learning_rate": 1e-3,
            "warmup_steps": 100,
        },
    }
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "supervised": {**AdversarialNoise.defaults["supervised"], "surrogate": "resnet18"},
        "contrastive": {
            **AdversarialNoise.defaults["contrastive"],
            "surrogate": "clip_rn50",
            "iterations": 8,
        },
    }
    away: ClassVar[bool] = True

    def aim(self, labels: Tensor, classes: int) -> Tensor:
        return labels
