"""Perturbation-induced linearisation: noise that a linear map reads as the label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional

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
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.orders import in_order
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.whole_noise import new_noise
from ue_bench.errors import TrainingError

AT_ONCE = 4096  # images whose noise walks at once; each walks by itself


@dataclass(frozen=True)
class PIL(Method):
    """PIL, perturbation-induced linearisation (Liu, Chen, Zhang, ICLR 2026), written from the paper.

    The surrogate is linear: two layers without bias and nothing between them, trained on the clean images. For an
    image x of label y, sign-gradient steps lower ``label_weight * CE(f(n), y) + (1 - label_weight) * KL(uniform ||
    softmax f(x - n))``. The first term makes n alone readable as y; because f has no bias, f(x - n) is f(x) - f(n),
    and the second term flattens what f sees of the image itself. The published image is x - n: the noise is -n.

    The walk needs no network: its gradient is the transposed map, times a difference of probabilities.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    surrogate_epochs: Count = (
        30  # SGD, cosine to 0 by the epoch, no augmentation, images in order; authors' code
    )
    surrogate_batch_size: Count = 512  # images; authors' code
    learning_rate: Positive = 0.003  # SGD, no weight decay; authors' code
    momentum: NotNegative = 0.9  # SGD; authors' code
    iterations: Count = 30  # sign steps per image, from a random start within the budget; authors' code
    step_size: Positive | None = None  # steps of 1/255; None: a tenth of the budget, 0.8 of 8; authors' code
    label_weight: Share = 0.9  # of the noise's own label, against the flattening of the image; authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = "30 epochs and 30 steps an image with a linear map: seconds, no network"
    published_names: ClassVar[tuple[str, ...]] = ("PIL",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"surrogate_epochs": 10, "surrogate_batch_size": 8, "iterations": 10},
        # A tenth of the images: batches of 512 would be a tenth of the updates.
        "laptop": {"surrogate_batch_size": 64},
        "quick": {"surrogate_batch_size": 64},
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        surrogate = self._train(images, labels, view.classes, context)
        radius = self.budget.radius / 255
        size = radius / 10 if self.step_size is None else self.step_size / 255
        noise = new_noise(len(images), images.size, self.budget.most_steps)
        read = torch.zeros(2, dtype=torch.int64, device=context.device)
        entropy = 0.0
        for index in context.progress.track(in_order(len(images), AT_ONCE), "batch"):
            clean = images.take(index).flatten(1)
            start = _uniform(clean.shape, radius, context.generator).to(context.device)
            n = linearise(
                clean,
                labels[index],
                surrogate,
                start,
                radius=radius,
                step_size=size,
                steps=self.iterations,
                label_weight=self.label_weight,
            )
            noise[index] = quantise(-n.unflatten(1, (3, *images.size)), self.budget)
            logits = (n @ surrogate.T, (clean - n) @ surrogate.T, clean @ surrogate.T)
            read += torch.stack([(logits[i].argmax(1) == labels[index]).sum() for i in (0, 2)])
            entropy -= float((logits[1].softmax(1) * logits[1].log_softmax(1)).sum())
        own, clean_share = (100 * count / len(images) for count in read.tolist())
        context.notes |= {
            "surrogate_clean_accuracy_percent": clean_share,
            "surrogate_noise_accuracy_percent": own,
            "surrogate_protected_entropy": entropy / len(images),
            "largest_entropy": math.log(view.classes),
        }
        return Perturbation(noise, view.rows(self.granularity), self.budget)

    def _train(self, images: ResidentImages, labels: Tensor, classes: int, context: Context) -> Tensor:
        """float32 [classes, 3 * H * W]: the surrogate's two layers as one linear map, trained on the clean images."""
        inputs = 3 * math.prod(images.size)
        shapes = ((classes, inputs), (classes, classes))
        layers = [
            _uniform(shape, 1 / math.sqrt(shape[1]), context.generator).to(context.device).requires_grad_()
            for shape in shapes
        ]
        optimizer = torch.optim.SGD(layers, lr=self.learning_rate, momentum=self.momentum)
        epochs = range(self.surrogate_epochs)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.surrogate_epochs)
        loss = torch.zeros(())
        for _ in context.progress.track(epochs, "epoch"):
            for index in in_order(len(images), self.surrogate_batch_size):
                logits = images.take(index).flatten(1) @ layers[0].T @ layers[1].T
                loss = functional.cross_entropy(logits, labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            decay.step()
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"pil's linear surrogate diverged: lower pil.learning_rate (now {self.learning_rate:g})"
            )
        return (layers[1] @ layers[0]).detach()


def linearise(
    images: Tensor,
    labels: Tensor,
    surrogate: Tensor,
    start: Tensor,
    *,
    radius: float,
    step_size: float,
    steps: int,
    label_weight: float,
) -> Tensor:
    """Sign-gradient steps on n, projected to the linf ball; the published image is ``images - n``.

    Args:
        images: float [B, D] in [0, 1].
        labels: int64 [B].
        surrogate: float [classes, D], a linear map without bias.
        start: float [B, D], where n starts, in [0, 1] pixel units.
        radius, step_size: in [0, 1] pixel units.
        steps: how many.
        label_weight: of the cross-entropy of f(n); the rest is the weight of KL(uniform || softmax f(images - n)).

    Returns:
        float [B, D].
    """
    wanted = functional.one_hot(labels, len(surrogate)).to(images.dtype)
    n = start
    for _ in range(steps):
        n = n - step_size * gradient(images, wanted, surrogate, n, label_weight).sign()
        n = n.clamp_(-radius, radius)
    return n


def gradient(images: Tensor, wanted: Tensor, surrogate: Tensor, n: Tensor, label_weight: float) -> Tensor:
    """float [B, D]: the gradient by n of each image's loss, summed over images.

    The cross-entropy's gradient by its logits is ``softmax - wanted``, that of KL(uniform || softmax) is
    ``softmax - uniform``; n enters the second with a minus.
    """
    alone, beside = (n @ surrogate.T).softmax(1), ((images - n) @ surrogate.T).softmax(1)
    pull = label_weight * (alone - wanted) - (1 - label_weight) * (beside - 1 / len(surrogate))
    return pull @ surrogate


def _uniform(shape: tuple[int, ...], limit: float, generator: Generator) -> Tensor:
    """float32 of this shape, uniform from -limit to limit, on the CPU."""
    return torch.empty(shape).uniform_(-limit, limit, generator=generator)
