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

    Adversarial examples of a clean-trained surrogate that point to the next class, (label + 1) modulo the
    number of classes. Published with its own label, an image shows features of the next class under it, so
    that a victim learns to call a class by the name before its own: below chance, and by a rule.

    The noise survives shifts and flips, which are differentiated through. Of several restarts the whole set
    of the lowest loss is kept, as in the authors' code. APBench's "TAP" is the untargeted recipe unless told
    otherwise: compare it with ``uap``. T2UE's 60.60 % for CIFAR-100 is far from others' results.

    In contrastive runs no paper has it: MEM's finds targets for captions hard to define, and T2UE's "TAP" there is
    most likely ``uap``. Here each image is led to the captions of the next image in the dataset, always the same
    one, from zero, down the loss of a CLIP trained on the clean pairs. For steps as few as UAP's: ``iterations=8``.
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
        """No paper has the contrastive one."""
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
        number = torch.arange(len(image_of)) - firsts[image_of]  # of the caption, among its image's
        target = (image_of + self.target_offset) % len(counts)
        return firsts[target] + number % counts[target]
