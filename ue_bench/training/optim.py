"""A recipe's optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ue_bench.training.recipe import ContrastiveRecipe, Recipe

NO_DECAY = ("bn", "ln", "norm", "bias", "logit_scale")  # parts of names; those of CLIP's code, and "norm"


def make_optimizer(
    parameters: Iterable[nn.Parameter], recipe: Recipe, recorded: bool = False
) -> torch.optim.Optimizer:
    """The optimizer that the recipe names; fused on a CUDA device, where all weights are then updated in one launch.

    Args:
        recorded: whether its steps become part of a CUDA graph: then the learning rate is a tensor that is read at each
            replay, and nothing waits for the device.
    """
    weights = list(parameters)
    settings: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    device = weights[0].device
    if recorded or device.type == "cuda":
        settings["fused"] = True
    if recorded:
        settings["lr"] = torch.tensor(recipe.learning_rate, device=device)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(weights, momentum=recipe.momentum, nesterov=recipe.nesterov, **settings)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(weights, capturable=recorded, **settings)


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


def make_contrastive_optimizer(model: nn.Module, recipe: ContrastiveRecipe) -> torch.optim.Optimizer:
    """AdamW that exempts parameters from weight decay by name, as CLIP's code does.

    The normalisations in a ResNet's ``downsample`` layers have other names, so they do decay, as in CLIP's code.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    exempt = [weight for name, weight in named if any(part in name for part in NO_DECAY)]
    decays = [weight for name, weight in named if not any(part in name for part in NO_DECAY)]
    return torch.optim.AdamW(
        [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": exempt, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=all(weight.device.type in ("cuda", "cpu") for _, weight in named),
    )


def contrastive_learning_rate(recipe: ContrastiveRecipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate at ``step`` of ``steps`` of ``epoch`` (both from 0): a warm-up, then half a cosine to 0.

    With ``off_by_one`` the schedule is one epoch ahead, as in the authors' code, so that the cosine passes its end and
    rises again in the last epoch. If the warm-up ends only in that epoch, the rate stays at its peak there.
    """
    done = (epoch + int(recipe.off_by_one)) * steps + step
    if done < recipe.warmup_steps:
        return recipe.learning_rate * (done + 1) / recipe.warmup_steps
    left = recipe.epochs * steps - recipe.warmup_steps
    if left <= 0:
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - recipe.warmup_steps) / left))
