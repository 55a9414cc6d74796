"""A recipe's optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ue_bench.training.recipe import Recipe


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer that the recipe names."""
    settings: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](parameters, **settings)


def learning_rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate at ``step`` of ``steps`` of ``epoch`` (both from 0).

    Cosine runs to 0 over all epochs and changes per epoch, as the field's recipes do; a warm-up is linear per
    step.
    """
    done = epoch + step / steps
    if done < recipe.warmup_epochs:
        return recipe.learning_rate * (done + 1 / steps) / (recipe.warmup_epochs + 1 / steps)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
    if recipe.schedule == "multistep":
        return recipe.learning_rate * 0.1 ** sum(
            epoch >= share * recipe.epochs for share in recipe.milestones
        )
    return recipe.learning_rate
