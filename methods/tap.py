"""Targeted adversarial poisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ue_bench.errors import ConfigError

from ._adversarial.noise import AdversarialNoise
from ._adversarial.presets import PRESETS


@dataclass(frozen=True)
class TAP(AdversarialNoise):
    """TAP, targeted adversarial poisons (Fowl et al., NeurIPS 2021), written from the paper.

    The noise makes adversarial examples of a clean-trained surrogate that point to the next class, (label + 1) modulo
    the number of classes. An image is published with its own label and features of the next class, so a victim learns
    to confuse each class with the one before it: accuracy falls below chance, in a regular pattern.

    The noise survives shifts and flips, which are part of its optimisation. Of several restarts, the one with the
    lowest loss over the whole set is kept, as in the authors' code. APBench's "TAP" is the untargeted recipe by
    default: compare it with ``uap``. T2UE's 60.60 % for CIFAR-100 is far from others' results.

    No paper has it in contrastive runs: MEM's finds targets for captions hard to define, and T2UE's "TAP" there is
    most likely ``uap``. Here each image is moved towards a caption of the next image in the dataset, always the same
    one, from zero, down the loss of a CLIP trained on the clean pairs. For as few steps as UAP has: ``iterations=8``.
    """

    target_offset: int = 1  # classes, modulo their number; paper. Added to the label. Contrastive: images

    cost: ClassVar[str] = (
        "40 epochs of a surrogate, shared, then 2,000 forward and backward passes an image (250 a restart); "
        "contrastive: 32 epochs, then 250 passes a pair"
    )
    published_names: ClassVar[tuple[str, ...]] = ("TAP",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PRESETS,
        "contrastive laptop": {**PRESETS["contrastive laptop"], "iterations": 20},
    }

    def published_as(self, paradigm: str) -> tuple[str, ...]:
        """Its name in the papers' tables; no paper has it in contrastive runs."""
        return () if paradigm == "contrastive" else self.published_names

    def aim(self, labels: Tensor, classes: int) -> Tensor:
        if self.target_offset % classes == 0:
            raise ConfigError(
                f"tap's target_offset {self.target_offset} leads each of {classes} classes to itself: "
                "take one that is no multiple of their number"
            )
        return (labels + self.target_offset) % classes

    def aim_of_pairs(self, image_of: Tensor) -> Tensor:
        counts = image_of.bincount()
        if self.target_offset % len(counts) == 0:
            raise ConfigError(
                f"tap's target_offset {self.target_offset} leads each of {len(counts)} images to itself: "
                "take one that is no multiple of their number"
            )
        firsts = counts.cumsum(0) - counts
        number = torch.arange(len(image_of)) - firsts[image_of]  # number of the caption among its image's
        target = (image_of + self.target_offset) % len(counts)
        return firsts[target] + number % counts[target]
