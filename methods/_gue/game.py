"""The game between noise and classifier: both payoffs, and one step of first-order bilevel optimisation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY = 1e-8  # added to a squared norm that is divided by; GUE's code


def worst_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """The leader's payoff: the mean of each image's largest cross-entropy to any class but its own.

    Low where an image is called each of the wrong classes alike. Unlike a negative cross-entropy it is bounded.

    Args:
        logits: float [B, C], of clean images; C at least 2.
        labels: int64 [B].
    """
    own = functional.one_hot(labels, logits.shape[1]).to(torch.bool)
    least = logits.masked_fill(own, float("inf")).amin(1)
    return (logits.logsumexp(1) - least).mean()


@dataclass(frozen=True)
class Game:
    """Both players, and the settings of a step (BOME, Liu et al., NeurIPS 2022).

    Attributes:
        noise: images, float [B, 3, H, W] in [0, 1] -> from -1 to 1 of the radius.
        classifier: images -> logits, always in training mode.
        noise_optimizer, optimizer: of these.
        radius: of the noise, in [0, 1] pixel units.
        eta: how fast the follower's optimum is enforced.
        inner_steps, inner_rate: Adam's steps of the copy that follows.
    """

    noise: nn.Module
    classifier: nn.Module
    noise_optimizer: torch.optim.Optimizer
    optimizer: torch.optim.Optimizer
    radius: float
    eta: float
    inner_steps: int
    inner_rate: float

    def shown(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] in [0, 1]: the images with their noise."""
        return (images + self.radius * self.noise(images)).clamp(0, 1)

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Both players' step on a batch: float [B, 3, H, W] in [0, 1], int64 [B].

        A copy of the classifier takes its own steps on the noisy images. The multiplier presses the gap to that copy's
        loss to zero, for noise and classifier, while the classifier lowers the leader's payoff on clean images.

        Returns:
            ``leader``, ``follower``: the losses before the step; ``gap`` and ``multiplier``.
        """
        seen = self.shown(images)
        best = self._followed(seen.detach(), labels)
        mine, weights = list(self.noise.parameters()), list(self.classifier.parameters())
        leader = worst_wrong(self.classifier(images), labels)
        by_leader = torch.autograd.grad(leader, weights)
        follower = functional.cross_entropy(self.classifier(seen), labels)
        gap = follower - functional.cross_entropy(best(seen), labels)
        by_gap = torch.autograd.grad(gap, mine + weights)
        square = sum(each.square().sum() for each in by_gap)
        inner = sum((a * b).sum() for a, b in zip(by_leader, by_gap[len(mine) :], strict=True))
        multiplier = ((self.eta * square - inner) / (square + TINY)).clamp_min(0)
        for weight, slope in zip(mine, by_gap, strict=False):
            weight.grad = multiplier * slope
        for weight, own, slope in zip(weights, by_leader, by_gap[len(mine) :], strict=True):
            weight.grad = own + multiplier * slope
        self.noise_optimizer.step()
        self.optimizer.step()
        found: dict[str, Any] = {"leader": leader, "follower": follower, "gap": gap, "multiplier": multiplier}
        return {name: float(value.detach()) for name, value in found.items()}

    def _followed(self, seen: Tensor, labels: Tensor) -> nn.Module:
        """A copy of the classifier after its own steps on these images; its weights are constants."""
        follower = copy.deepcopy(self.classifier)
        optimizer = torch.optim.Adam(follower.parameters(), lr=self.inner_rate)
        for _ in range(self.inner_steps):
            optimizer.zero_grad()
            functional.cross_entropy(follower(seen), labels).backward()
            optimizer.step()
        return follower.requires_grad_(False)
