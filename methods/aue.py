"""Augmented unlearnable examples: error-minimizing noise under the augmentation of contrastive learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn

from ue_bench import (
    Access,
    Budget,
    Context,
    Count,
    Method,
    Norms,
    NotNegative,
    Perturbation,
    Positive,
    ProtectorView,
    Share,
)
from ue_bench.crafting.noise import ImageNoise
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.orders import in_order
from ue_bench.crafting.pgd import Walk, frozen
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.surrogates import sgd, training_step
from ue_bench.errors import TrainingError
from ue_bench.training.epochs import set_learning_rate

from ._aue.views import OnViews, StrongViews

LAST_RATE = 1e-6  # where the cosine of the learning rate ends


@dataclass(frozen=True)
class AUE(Method):
    """AUE, augmented unlearnable examples (Wang, Zhu, Gao, NeurIPS 2024), written from the paper.

    EM's alternation, but surrogate and noise see crops, colours and greyscale of contrastive learning, with one
    ``strength``: an epoch of training on views of the protected images, then one sweep of a few noise steps per image,
    each on a new view, with the surrogate in evaluation mode. So the noise also works against contrastive learning.

    The hue is turned in RGB, which is linear, and not in HSV. The authors' class-wise option is not here.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    surrogate: str = "resnet18"  # a victim, trained from scratch; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    strength: Share = 0.6  # of the augmentation, 0 to 1; paper. CIFAR-100: 1.0
    epochs: Count = 60  # each with one sweep of noise steps; paper
    noise_steps: Count = 5  # sign steps per image and epoch, each on a new view; paper
    step_size: Positive | None = None  # steps of 1/255; None: a tenth of the budget, 0.8 of 8 (paper)
    batch_size: Count = 128  # images, for training and noise; paper
    learning_rate: Positive = 0.1  # SGD, cosine to 1e-6 by the epoch; paper
    momentum: NotNegative = 0.9  # SGD; paper
    weight_decay: NotNegative = 1e-4  # SGD; paper
    bf16: bool = True  # where the device gains by it; False: float32

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = (
        "60 epochs of a surrogate and 300 noise steps: 360 forward and backward passes an image"
    )
    published_names: ClassVar[tuple[str, ...]] = ("AUE",)
    usual: ClassVar[Mapping[str, Any]] = {"step_size": 0.8}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "batch_size": 16,
            "epochs": 2,
            "noise_steps": 2,
            "step_size": 2.4,
        },
        "laptop": {"surrogate": "resnet_tiny", "batch_size": 64, "epochs": 20},
        "quick": {
            "surrogate": "resnet_tiny",
            "batch_size": 64,
            "epochs": 10,
            "noise_steps": 3,
            "step_size": 1.6,
        },
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        draws = torch.Generator(context.device).manual_seed(context.seed)
        goal = OnViews(Classification(labels, self.bf16), StrongViews(self.strength), draws)
        radius = self.budget.radius / 255
        size = radius / 10 if self.step_size is None else self.step_size / 255
        noise = ImageNoise(images, goal, Walk(radius, size, self.noise_steps), self.batch_size)
        model = context.surrogate(self.surrogate, view.classes, view.image_size, start=self.surrogate_start)
        self._search(model, noise, draws, context)
        return Perturbation.from_float(noise.delta, view.rows(self.granularity), self.budget)

    def _search(self, model: nn.Module, noise: ImageNoise, draws: torch.Generator, context: Context) -> None:
        """Alternates between an epoch of training and a sweep over the noise; reports it in ``context.notes``."""
        optimizer = sgd(model, self.learning_rate, self.momentum, self.weight_decay)
        count, errors = len(noise.images), []
        parts = {
            "model": model,
            "optimizer": optimizer,
            "delta": noise.delta,
            "draws": draws,
            "errors": errors,
        }
        for epoch in context.resumable(range(self.epochs), "epoch", **parts):
            set_learning_rate(optimizer, rate(self.learning_rate, epoch, self.epochs))
            model.train()
            order = torch.randperm(count, generator=context.generator)
            for part in in_order(count, self.batch_size):
                loss = noise.mean_loss(model, order[part])
                training_step(model, optimizer, loss, 0.0)
            if not bool(loss.isfinite()):
                raise TrainingError(
                    f"aue's surrogate '{self.surrogate}' diverged in epoch {epoch + 1}: "
                    f"lower aue.learning_rate (now {self.learning_rate:g})"
                )
            with frozen(model):
                sweep = in_order(count, self.batch_size)
                for index in context.resumable(sweep, "batch", delta=noise.delta, draws=draws):
                    noise.delta[index] = noise.walked(model, index).to(noise.delta.device)
                errors.append(noise.error(model))
        context.notes |= {
            "surrogate_error_percent": 100 * errors[-1],
            "surrogate_accuracy_percent_by_epoch": [100 * (1 - error) for error in errors],
        }


def rate(first: float, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch, from 0: half a cosine from ``first`` to ``LAST_RATE``."""
    return LAST_RATE + (first - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
