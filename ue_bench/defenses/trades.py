"""TRADES: the loss on clean images, and how far predictions move on the worst images nearby."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from ue_bench import Count, Defense, NotNegative, Positive
from ue_bench.crafting.pgd import Walk, frozen, project


@dataclass(frozen=True)
class Trades(Defense):
    """TRADES (Zhang et al., ICML 2019), adversarial training with a balance of clean and robust accuracy.

    The loss is the cross-entropy of the images, plus ``balance`` times the KL divergence from predictions for them to
    those for the images that an attack moves them to. The attack climbs that divergence, with the model in evaluation
    mode. A step costs 12 times a plain one.
    """

    radius: Positive = 8.0  # steps of 1/255, linf; paper: 0.031
    step_size: Positive = 2.0  # steps of 1/255; code: 0.007
    steps: Count = 10  # paper
    balance: NotNegative = 6.0  # weight of the divergence; paper (its 1 / lambda)
    start: NotNegative = 0.255  # standard deviation of the attack's start, steps of 1/255; code: 0.001

    comparable_training: ClassVar[bool] = False

    def loss(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        cross_entropy: Callable[..., Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        with frozen(model):
            with torch.no_grad():
                calm = _logs(model, images)
            start = torch.empty_like(images).normal_(0, self.start / 255, generator=generator)
            walk = Walk(self.radius / 255, self.step_size / 255, self.steps, maximise=True)
            delta = project(images, start, lambda shown: _divergence(calm, _logs(model, shown)), walk)
        logits = model(images)
        robust = _divergence(log_softmax(logits.float(), dim=1), _logs(model, (images + delta).clamp(0, 1)))
        return cross_entropy(logits, targets) + self.balance * robust / len(images), logits


def _logs(model: nn.Module, images: Tensor) -> Tensor:
    return log_softmax(model(images).float(), dim=1)


def _divergence(calm: Tensor, moved: Tensor) -> Tensor:
    """float scalar: the sum of KL(calm || moved) over images, both float [B, classes], logarithms of shares."""
    return kl_div(moved, calm, reduction="sum", log_target=True)
