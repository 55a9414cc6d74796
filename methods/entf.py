"""Entangled features: noise that moves images among other classes in the features of a robust model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

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
    Recipe,
    Share,
)
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.orders import in_order
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.surrogates import falls_after, trained_on_clean
from ue_bench.crafting.whole_noise import new_noise
from ue_bench.errors import ConfigError
from ue_bench.training.epochs import autocast

from ._adversarial.robust import RobustTraining
from ._adversarial.transforms import ShiftFlip, mean_colour

DECAYS = (0.75, 0.9)  # shares of the epochs after which the learning rate falls: 75 and 90 of 100; code


@dataclass(frozen=True)
class EntF(Method):
    """EntF, entangled features (Wen et al., ICLR 2023), written from a sheet on paper and code.

    A reference model is trained adversarially on the clean images; each class has a centre, the mean of its clean
    images' features before the last layer. ``push`` drives an image's features away from its own class's centre,
    ``pull`` towards the nearest centre of another class, which is looked for anew in every step. Each step shifts and
    mirrors the images. The noise is aimed at victims that are trained adversarially: look at that column.

    The authors hide the own class from that search behind a distance of 1, which fails where all others are farther;
    here it is left out. Shifts are in pixels of 32 x 32 images, in proportion where images are larger.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    variant: Literal["push", "pull"] = "push"  # from the own centre, or to the nearest other one; paper
    surrogate: str = "resnet18"  # a victim, trained adversarially on clean images; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    surrogate_epochs: Count = 100  # learning rate x0.1 after 75 and 90 of 100, scaled; code
    surrogate_batch_size: Count = 128  # images; code
    learning_rate: Positive = 0.1  # SGD; code
    momentum: NotNegative = 0.9  # SGD; code
    weight_decay: NotNegative = 5e-4  # SGD; code
    warmup_epochs: NotNegative = 0.0  # linear; the code has none, short trainings benefit from one
    crop_padding: int = 4  # pixels around the surrogate's random crops, 0: no crops; code
    robust_radius: Positive = 4.0  # steps of 1/255, linf, of the surrogate's adversarial training; paper
    robust_steps: Count = 10  # of half that radius each, from a random start; code
    shift: NotNegative = 8.0  # pixels at 32 x 32, farthest shift in each noise step; code
    flip: Share = 0.5  # share of images mirrored in each noise step; code
    iterations: Count = 300  # sign steps per image, from normal noise that is cut at the budget; code
    step_size: Positive | None = None  # steps of 1/255; None: a twentieth of the budget, 0.4 of 8 (code)
    batch_size: Count = 128  # images, for noise; code
    bf16: bool = True  # where the device gains by it; False: float32

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    variants: ClassVar[frozenset[str]] = frozenset({"variant"})
    cost: ClassVar[str] = (
        "100 epochs of adversarial training, 1,100 passes an image, then 300 forward and backward passes an image"
    )
    usual: ClassVar[Mapping[str, Any]] = {"step_size": 0.4}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 2,
            "surrogate_batch_size": 32,
            "crop_padding": 0,
            "robust_steps": 2,
            "iterations": 4,
            "step_size": 2.0,
        },
        # So small a surrogate learns in so short a training only with small batches, a warm-up and no crops.
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 20,
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "robust_steps": 4,
            "shift": 0.5,
            "iterations": 60,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 10,
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "robust_steps": 2,
            "shift": 0.5,
            "iterations": 20,
            "step_size": 0.8,
        },
    }

    @property
    def published_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its name in others' tables, which tell both variants apart."""
        return (f"EntF-{self.variant}",)

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        if view.classes < 2:
            raise ConfigError("entf needs at least two classes: features are moved among their centres")
        attack = RobustTraining(self.robust_radius, self.robust_radius / 2, self.robust_steps)
        start = self.surrogate_start
        model = trained_on_clean(view, context, self.surrogate, self._recipe(), attack, start=start)
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        features = Features(model, view.classes, self.bf16)
        radius = self.budget.radius / 255
        size = radius / 20 if self.step_size is None else self.step_size / 255
        walk = Walk(radius, size, self.iterations, maximise=self.variant == "push")
        moves = ShiftFlip(
            mean_colour(view.images), self.shift * max(1.0, max(view.image_size) / 32), self.flip
        )
        noise = new_noise(len(images), images.size, self.budget.most_steps)
        draws = torch.Generator(context.device).manual_seed(context.seed)
        sums = torch.zeros((2, 2), dtype=torch.float64)  # distance and nearest centre, clean and protected
        with frozen(model):
            centres = self._centres(features, images, labels, view.classes)
            batches = in_order(len(images), self.batch_size)
            for index in context.resumable(batches, "batch", noise=noise, draws=draws, sums=sums):
                clean, own = images.take(index), labels[index]
                first = torch.empty_like(clean).normal_(generator=draws).mul_(radius).clamp_(-radius, radius)

                def loss(shown: Tensor, own: Tensor = own) -> Tensor:
                    return entangled(features(shown), centres, own, self.variant)

                steps = quantise(project(clean, first, loss, walk, lambda at: moves(at, draws)), self.budget)
                noise[index] = steps
                shown = clean.add(steps.to(clean.device) / 255).clamp_(0, 1)
                with torch.no_grad():
                    for row, pictures in enumerate((clean, shown)):
                        away = distances(features(pictures), centres)
                        sums[row, 0] += float(away.gather(1, own[:, None]).sum())
                        sums[row, 1] += int((away.argmin(1) == own).sum())
        means = (sums / len(images)).tolist()
        context.notes |= {
            "surrogate_clean_distance": means[0][0],
            "surrogate_protected_distance": means[1][0],
            "surrogate_clean_nearest_percent": 100 * means[0][1],
            "surrogate_nearest_percent": 100 * means[1][1],
        }
        return Perturbation(noise, view.rows(self.granularity), self.budget)

    @torch.no_grad()
    def _centres(self, features: Features, images: ResidentImages, labels: Tensor, classes: int) -> Tensor:
        """float32 [classes, D]: the mean feature of each class's clean images, without augmentation."""
        batches = in_order(len(images), self.batch_size)
        found = torch.cat([features(images.take(index)) for index in batches])
        members = torch.nn.functional.one_hot(labels, classes).to(found)
        return members.T @ found / members.sum(0).clamp_min(1)[:, None]

    def _recipe(self) -> Recipe:
        """The surrogate's recipe."""
        epochs = self.surrogate_epochs
        ends = [round(share * epochs) for share in DECAYS if share * epochs >= 1]
        return Recipe(
            epochs=epochs,
            batch_size=self.surrogate_batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule="multistep",
            milestones=falls_after(ends, epochs),
            warmup_epochs=self.warmup_epochs,
            crop_padding=self.crop_padding,
            bf16=self.bf16,
        )


class Features:
    """What a classifier's last linear layer is given, float32 [B, D], of images, float [B, 3, H, W] in [0, 1]."""

    def __init__(self, model: nn.Module, classes: int, bf16: bool):
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not linear or linear[-1].out_features != classes:
            raise ConfigError(
                "entf needs a surrogate whose logits are those of a linear layer: set entf.surrogate=resnet18"
            )
        self._model, self._last, self._bf16 = model, linear[-1], bf16

    def __call__(self, images: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        try:
            with autocast(images.device, self._bf16):
                self._model(images)
        finally:
            hook.remove()
        return seen[0].flatten(1).to(torch.float32)


def distances(features: Tensor, centres: Tensor) -> Tensor:
    """float [B, C]: squared distances of features, float [B, D], from centres, float [C, D]."""
    return (features[:, None] - centres).square().sum(2)


def entangled(features: Tensor, centres: Tensor, labels: Tensor, variant: str) -> Tensor:
    """Summed squared distances: of ``push`` from the own centre, of ``pull`` from the nearest centre of another class.

    Args:
        features: float [B, D].
        centres: float [C, D].
        labels: int64 [B].
    """
    away = distances(features, centres)
    if variant == "push":
        return away.gather(1, labels[:, None]).sum()
    return away.scatter(1, labels[:, None], float("inf")).amin(1).sum()
