"""Noise from zero against a frozen surrogate, down or up its cross-entropy to a label for each image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ue_bench.contracts.budget import Budget
from ue_bench.contracts.context import Context
from ue_bench.contracts.perturbation import Perturbation, quantise
from ue_bench.contracts.view import ProtectorView
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.orders import in_order
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.whole_noise import new_noise


def descend(
    model: nn.Module,
    view: ProtectorView,
    context: Context,
    budget: Budget,
    walk: Walk,
    batch_size: int,
    bf16: bool,
    transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    aim: Tensor | None = None,
) -> Perturbation:
    """Noise for each image, from zero, down (or up) the surrogate's cross-entropy to a label.

    Each batch takes all its steps in a row, because the surrogate is frozen and no image depends on another.

    Args:
        model: the surrogate, which stays as it is.
        walk: of the budget's norm.
        batch_size: images.
        transform: differentiable augmentation, drawn anew in every step, or None.
        aim: int64 [N], a label for each image; None: its own.
    """
    images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
    truth = Classification(labels, bf16)
    goal = truth if aim is None else Classification(aim.to(context.device), bf16)
    noise = new_noise(len(images), images.size, budget.most_steps)
    draws = torch.Generator(context.device).manual_seed(context.seed)
    sums = torch.zeros((2, 2), dtype=torch.float64)  # loss and errors of clean and of protected images
    with frozen(model):
        batches = in_order(len(images), batch_size)
        for index in context.resumable(batches, "batch", noise=noise, draws=draws, sums=sums):
            clean = images.take(index)

            def loss(shown: Tensor, index: slice = index) -> Tensor:
                return goal.loss(model, shown, index)

            delta = project(
                clean,
                torch.zeros_like(clean),
                loss,
                walk,
                None if transform is None else lambda shown: transform(shown, draws),
            )
            steps = quantise(delta, budget)
            noise[index] = steps
            shown = clean.add(steps.to(clean.device) / 255).clamp_(0, 1)
            for row, pictures in enumerate((clean, shown)):
                with torch.no_grad():
                    sums[row, 0] += float(truth.loss(model, pictures, index))
                    sums[row, 1] += float(truth.errors(model, pictures, index))
    means = sums / len(images)
    context.notes |= {
        "surrogate_clean_loss": float(means[0, 0]),
        "surrogate_protected_loss": float(means[1, 0]),
        "surrogate_clean_error_percent": 100 * float(means[0, 1]),
        "surrogate_error_percent": 100 * float(means[1, 1]),
    }
    return Perturbation(noise, view.rows("image"), budget)
