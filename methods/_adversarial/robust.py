"""Adversarial training of a surrogate, in the form that the trainer takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ue_bench import Count, Positive
from ue_bench.contracts.defense import Defense
from ue_bench.crafting.pgd import Walk, frozen, project


@dataclass(frozen=True)
class RobustTraining(Defense):
    """Every step trains on adversarial examples in a linf ball, found from a random start in evaluation mode."""

    radius: Positive = 2.0  # steps of 1/255
    step_size: Positive = 0.5  # steps of 1/255
    steps: Count = 10

    def attack(self, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        radius = self.radius / 255
        delta = torch.zeros_like(images).uniform_(-radius, radius, generator=generator)
        walk = Walk(radius, self.step_size / 255, self.steps, maximise=True)
        with frozen(model):
            moved = project(images, delta, lambda x: cross_entropy(model(x), targets, reduction="sum"), walk)
        return (images + moved).clamp_(0, 1)
