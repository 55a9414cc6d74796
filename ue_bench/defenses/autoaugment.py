"""AutoAugment: two operations per image, from a learned policy."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ue_bench import Defense
from ue_bench.defenses._operations import Move, apply_moves
from ue_bench.defenses._policies import POLICIES


@dataclass(frozen=True)
class AutoAugment(Defense):
    """AutoAugment (Cubuk et al., CVPR 2019): each image draws one of the policy's 25 pairs of operations.

    It follows crop and flip, as in the paper, but without the paper's Cutout (to add it: autoaugment+cutout). Pixels
    that move in from outside are black; operations and ranges are torchvision's.
    """

    policy: Literal["cifar10", "imagenet"] = "cifar10"  # the paper uses cifar10 for CIFAR-100 too

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        count, device = len(images), generator.device
        pair = torch.randint(len(POLICIES[self.policy]), (count,), generator=generator, device=device)
        chance, sign = torch.rand((2, 2, count), generator=generator, device=device)
        return self.augment(images, pair, chance, sign), targets

    def augment(self, images: Tensor, pair: Tensor, chance: Tensor, sign: Tensor) -> Tensor:
        """The images, augmented according to these random draws.

        Args:
            images: float [B, 3, H, W] in [0, 1].
            pair: int64 [B], which of the policy's pairs each image gets.
            chance: float [2, B] in [0, 1); a step is taken if its number is at most the step's probability.
            sign: float [2, B] in [0, 1); a strength is negative if its number is at most 0.5.
        """
        moves, number, probability = _table(self.policy)
        place = torch.stack([2 * pair, 2 * pair + 1])
        taken = chance <= probability.to(pair.device)[place]
        return apply_moves(images, moves, number.to(pair.device)[place] * taken, sign <= 0.5)


@functools.cache
def _table(policy: str) -> tuple[tuple[Move, ...], Tensor, Tensor]:
    """(distinct moves, the first of them the identity; each step's index among the moves; each step's probability)."""
    steps = [step for pair in POLICIES[policy] for step in pair]
    wanted = [Move(step.operation, step.magnitude, 9) for step in steps]
    moves = (Move("Identity"), *dict.fromkeys(wanted))
    number = torch.tensor([moves.index(move) for move in wanted])
    return moves, number, torch.tensor([step.probability for step in steps])
