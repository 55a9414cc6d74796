"""Noise under optimisation, per image or per class: improved in rounds against a frozen model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.contracts.budget import Budget
from ue_bench.contracts.context import Context
from ue_bench.contracts.perturbation import Perturbation
from ue_bench.contracts.view import ProtectorView
from ue_bench.crafting.objectives import Classification, Objective
from ue_bench.crafting.orders import Endless, in_order, shuffled, stratified
from ue_bench.crafting.pgd import Walk, project
from ue_bench.crafting.resident import Index, ResidentImages, places, zero_noise
from ue_bench.training.arithmetic import captures
from ue_bench.training.graphs import Captured

JUDGED_AT_ONCE = 1000  # images
MANY_CLASSES = 100  # the least number for which papers use their settings for many classes


class Noise(ABC):
    """Noise that starts from zero.

    Args:
        images: the images to protect.
        objective: the loss that the walk descends or climbs.
        walk: the noise steps that each batch gets in each round.
        batch_size: images per batch.
        count: how many noises there are.
        context: from which a killed round goes on; None: it does not.

    Attributes:
        delta: float32 [count, 3, H, W], [0, 1] pixel units, within the walk's radius.
    """

    def __init__(
        self,
        images: ResidentImages,
        objective: Objective,
        walk: Walk,
        batch_size: int,
        count: int,
        context: Context | None = None,
    ):
        self._context = context
        self.images, self.objective, self.walk, self.batch_size = images, objective, walk, batch_size
        self.delta = zero_noise((count, 3, *images.size), images.device)
        self._steps: dict[tuple[int, bool], Captured] = {}

    @abstractmethod
    def training_batches(self) -> Endless[Index]:
        """Batches without end, for a surrogate that takes a few in each round."""

    def each(self, batches: Sequence[Any]) -> Iterator[Any]:
        """The batches of a round; a round that was killed goes on within them."""
        if self._context is None:
            return iter(batches)
        return self._context.resumable(batches, "batch", delta=self.delta)

    @abstractmethod
    def improve(self, model: nn.Module) -> None:
        """One round of noise steps against the frozen model."""

    @abstractmethod
    def at(self, index: Index) -> Tensor:
        """float32 [B, 3, H, W], on the device: the noise of the images at ``index``."""

    @abstractmethod
    def judged(self) -> list[Index]:
        """The images, in batches, whose error decides when the search ends."""

    def protected(self, index: Index) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1]: the images at ``index`` with their noise."""
        return self.images.take(index).add_(self.at(index)).clamp_(0, 1)

    def mean_loss(self, model: nn.Module, index: Index) -> Tensor:
        """The objective's mean over the protected images at ``index``, for a training step of the model."""
        shown = self.protected(index)
        return self.objective.loss(model, shown, index) / len(shown)

    @torch.no_grad()
    def error(self, model: nn.Module) -> float:
        """The share of the judged images that the model gets wrong with their noise."""
        wrong, count = torch.zeros((), dtype=torch.int64, device=self.images.device), 0
        for index in self.judged():
            shown = self.protected(index)
            wrong += self.objective.errors(model, shown, index)
            count += len(shown)
        return int(wrong) / count

    def walked(self, model: nn.Module, index: Index) -> Tensor:
        """float32 [B, 3, H, W]: the noise of the images at ``index`` after a walk; each image walks by itself."""
        images, delta = self.images.take(index), self.at(index)
        if not captures(images.device):
            return project(images, delta, lambda shown: self.objective.loss(model, shown, index), self.walk)
        step, where = self._captured(model), places(index, images.device)
        for _ in range(self.walk.steps):
            delta = step(images, delta, where)
        return delta.clone()

    def _captured(self, model: nn.Module) -> Captured:
        """(images, noise, places of the images) -> the noise after one step against the model in its present mode."""
        key = id(model), model.training
        if key not in self._steps:
            one = replace(self.walk, steps=1)

            def step(images: Tensor, delta: Tensor, where: Tensor) -> Tensor:
                return project(images, delta, lambda shown: self.objective.loss(model, shown, where), one)

            draws = [part for part in vars(self.objective).values() if isinstance(part, torch.Generator)]
            self._steps[key] = Captured(step, draws, self._context.clock if self._context else None)
        return self._steps[key]


class ImageNoise(Noise):
    """One noise per image. Every pass goes through the images in the data's own order."""

    def __init__(
        self,
        images: ResidentImages,
        objective: Objective,
        walk: Walk,
        batch_size: int,
        context: Context | None = None,
    ):
        super().__init__(images, objective, walk, batch_size, len(images), context)
        self._batches = in_order(len(images), batch_size)

    def training_batches(self) -> Endless[Index]:
        return Endless(lambda: self._batches)

    def improve(self, model: nn.Module) -> None:
        for index in self.each(self._batches):
            self.delta[index] = self.walked(model, index).to(self.delta.device)

    def at(self, index: Index) -> Tensor:
        return self.delta[index].to(self.images.device)

    def judged(self) -> list[Index]:
        return list(in_order(len(self.images), JUDGED_AT_ONCE))


class ClassNoise(Noise):
    """One noise per class: after each batch, the mean of the noises that its images of the class have walked to.

    Args:
        labels: int64 [N], on the device.
        classes: how many noises there are.
        share: the part of each class on which the noise is made and judged; always the same images.
        generator: on the CPU; draws the subset and the order of batches. With a context, it is the context's.
    """

    def __init__(
        self,
        images: ResidentImages,
        objective: Objective,
        walk: Walk,
        batch_size: int,
        *,
        labels: Tensor,
        classes: int,
        share: float,
        generator: torch.Generator,
        context: Context | None = None,
    ):
        super().__init__(images, objective, walk, batch_size, classes, context)
        self._labels, self._generator = labels, generator
        self.subset = stratified(labels.cpu(), share, generator)

    def training_batches(self) -> Endless[Index]:
        everything = torch.arange(len(self.images))
        return Endless(lambda: shuffled(everything, self.batch_size, self._generator), self._generator)

    def improve(self, model: nn.Module) -> None:
        for index in self.each(list(shuffled(self.subset, self.batch_size, self._generator))):
            wishes = self.walked(model, index)
            # A matrix product, because sums by index are not repeatable on accelerators.
            members = functional.one_hot(self._labels[index], len(self.delta)).to(wishes.dtype)
            counts = members.sum(dim=0)
            means = (members.T @ wishes.flatten(1)) / counts.clamp_min(1)[:, None]
            present = counts > 0
            self.delta[present] = means.view(self.delta.shape)[present]

    def at(self, index: Index) -> Tensor:
        return self.delta[self._labels[index]]

    def judged(self) -> list[Index]:
        return list(self.subset.split(JUDGED_AT_ONCE))


def noise_for_labels(
    method: Any, view: ProtectorView, context: Context, maximise: bool = False
) -> ImageNoise | ClassNoise:
    """Image-wise or class-wise noise, all zeros at first, whose objective is a classifier's cross-entropy.

    Args:
        method: its fields ``granularity``, ``budget``, ``step_size``, ``noise_steps`` (None: 20, class-wise 1),
            ``batch_size``, ``subset_share`` (class-wise: the part of each class on which the noise is made), ``bf16``.
        maximise: True to climb the loss.
    """
    classwise = method.granularity == "class"
    steps = method.noise_steps or (1 if classwise else 20)
    walk = Walk(method.budget.radius / 255, method.step_size / 255, steps, maximise=maximise)
    images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
    objective = Classification(labels, method.bf16)
    if not classwise:
        return ImageNoise(images, objective, walk, method.batch_size, context)
    return ClassNoise(
        images,
        objective,
        walk,
        method.batch_size,
        labels=labels,
        classes=view.classes,
        share=method.subset_share,
        generator=context.generator,
        context=context,
    )


def chosen(value: Any, classes: int, *, few: Any, many: Any) -> Any:
    """A setting as it was set; None: what a method's authors use where classes are few, or where they are many."""
    if value is not None:
        return value
    return many if classes >= MANY_CLASSES else few


def one_sided_budget(method: Any) -> Budget:
    """The method's budget; one-sided if it drops negative noise (``official_one_sided``)."""
    return replace(method.budget, signs="positive") if method.official_one_sided else method.budget


def as_saved(method: Any, noise: Noise, view: ProtectorView) -> Perturbation:
    """The noise in 8 bits, or as the authors' code saves it (``official_one_sided``, ``official_floor``)."""
    delta = noise.delta.clamp_min(0) if method.official_one_sided else noise.delta
    rows, budget = view.rows(method.granularity), one_sided_budget(method)
    return Perturbation.from_float(delta, rows, budget, floor=method.official_floor)
