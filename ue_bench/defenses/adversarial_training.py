"""Adversarial training: every step trains on adversarial examples of the images that it was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ue_bench import Count, Defense, Positive
from ue_bench.crafting.pgd import Walk, frozen, project


@dataclass(frozen=True)
class AdversarialTraining(Defense):
    """Adversarial training (Madry et al., ICLR 2018): PGD in a linf ball, then the loss on its result only.

    During the attack the model is in evaluation mode, so that batch statistics do not change. EM's code starts from
    normal noise of ``step_size`` instead of a random point of the ball. A step costs 11 times a plain one; with
    ``steps=1 step_size=10`` (Wong et al., ICLR 2020, FGSM with random start) it costs twice as much.
    """

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    comparable_training: ClassVar[bool] = False

    radius: Positive = 8.0  # steps of 1/255, linf (Madry, EM, APBench; OPS too)
    step_size: Positive = 2.0  # steps of 1/255 (Madry, EM's configuration)
    steps: Count = 10  # EM, APBench, OPS; Madry: 7
    random_start: bool = True  # start at a random point of the ball; false: at the image itself

    def attack(self, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        with frozen(model):
            return self.attack_pairs(
                lambda shown: cross_entropy(model(shown), targets, reduction="sum"), images, generator
            )

    def attack_pairs(
        self, loss: Callable[[Tensor], Tensor], images: Tensor, generator: torch.Generator
    ) -> Tensor:
        radius = self.radius / 255
        delta = torch.zeros_like(images)
        if self.random_start:
            delta.uniform_(-radius, radius, generator=generator)
        walk = Walk(radius, self.step_size / 255, self.steps, maximise=True)
        return (images + project(images, delta, loss, walk)).clamp_(0, 1)
