"""What all trainers share: the loop over epochs and the optimizer step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.errors import TrainingError
from ue_bench.progress import Progress
from ue_bench.training.arithmetic import autocast as autocast  # for methods that compute step by step
from ue_bench.training.recipe import ContrastiveRecipe, Recipe

AnyRecipe = Recipe | ContrastiveRecipe


class TrainingCurves(Protocol):
    """The curves that every trainer has, with one number per epoch."""

    train_loss: list[float]
    train_accuracy: list[float]


class HasGenerators(Protocol):
    """Batches, as far as their randomness goes."""

    def generators(self) -> dict[str, torch.Generator]:
        """All that is random in them, by name."""


def run_epochs(
    epochs: Iterable[int],
    recipe: AnyRecipe,
    curves: TrainingCurves,
    one: Callable[[int], tuple[float, float]],
    measure: Callable[[], None] | None,
    clock: Clock,
) -> None:
    """Runs all epochs of a training.

    Args:
        epochs: their numbers, from 0; a training that goes on from a checkpoint leaves out those that are done.
        recipe: named in errors.
        curves: the loss and the accuracy of every epoch are appended to them.
        one: (epoch, from 0) -> (mean loss, accuracy in percent); timed as ``train``.
        measure: called after every epoch, timed as ``evaluate``; None for surrogates.
        clock: times the phases.

    Raises:
        TrainingError: if the loss is no longer finite.
    """
    for epoch in epochs:
        with clock.phase("train"):
            loss, accuracy = one(epoch)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the training loss became {loss} in epoch {epoch + 1}: lower recipe.learning_rate "
                f"(now {recipe.learning_rate:g}) or set recipe.gradient_clip"
            )
        curves.train_loss.append(loss)
        curves.train_accuracy.append(accuracy)
        if measure is not None:
            with clock.phase("evaluate"):
                measure()


def resuming(
    checkpoints: Checkpoints | None, progress: Progress, batches: HasGenerators, **parts: Any
) -> Callable[..., Iterator[Any]]:
    """(items, label, **more) -> the items of a loop of this training, which goes on where a killed run was.

    Args:
        checkpoints: where states are kept, or None.
        batches: what is random in them belongs to the state.
        parts: what every loop of the training changes, by name, see ``Checkpoints.track``.
    """
    track: Callable[..., Iterator[Any]] = (checkpoints or Checkpoints()).track
    return functools.partial(track, progress=progress, **parts, **batches.generators())


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Sets the learning rate of every parameter group; where it is a tensor, at its place in memory."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, gradient_clip: float
) -> None:
    """Takes one step of ``optimizer`` down the gradient of ``loss``, a scalar computed in training mode.

    Args:
        gradient_clip: the largest global norm of the gradient; 0 for no limit.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if gradient_clip:
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimizer.step()
