"""Hypocritical perturbations against adversarial training: a robust surrogate, and augmentation in the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

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
from ue_bench.crafting.descent import descend
from ue_bench.crafting.pgd import Walk
from ue_bench.crafting.surrogates import trained_on_clean

from ._adversarial.robust import RobustTraining
from ._adversarial.transforms import ShiftFlip, mean_colour


@dataclass(frozen=True)
class HypoRobust(Method):
    """HYPO+, hypocritical perturbations (Tao et al., NeurIPS 2022), written from the paper.

    HYPO's descent, but the surrogate is trained adversarially for a few epochs, within a small radius, and each step
    shifts and mirrors the images. The noise is aimed at victims that are trained adversarially: look at that column.

    The crop of the surrogate's training and its random start are the field's usual ones.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    surrogate: str = "resnet18"  # a victim, trained adversarially on clean images; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    surrogate_epochs: Count = 10  # at a constant learning rate; paper
    surrogate_batch_size: Count = 128  # images; paper
    learning_rate: Positive = 0.1  # SGD; paper
    momentum: NotNegative = 0.9  # SGD; the field's usual value
    weight_decay: NotNegative = 5e-4  # SGD; the field's usual value
    warmup_epochs: NotNegative = 0.0  # linear; the paper has none, short trainings benefit from one
    crop_padding: int = 4  # pixels around the surrogate's random crops, 0: no crops; the field's usual value
    robust_radius: Positive = 2.0  # steps of 1/255, linf, of the surrogate's adversarial training; paper
    robust_steps: Count = 10  # of a quarter of that radius each; paper
    shift: NotNegative = 4.0  # pixels, farthest shift in each noise step, as in TAP
    flip: Share = 0.5  # share of images mirrored in each noise step
    iterations: Count = 100  # sign steps per image, each on a new shift and flip; paper
    step_size: Positive | None = None  # steps of 1/255; None: a tenth of the budget, 0.8 of 8 (paper)
    batch_size: Count = 256  # images, for noise; paper
    bf16: bool = True  # where the device gains by it; False: float32

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = (
        "10 epochs of adversarial training, 110 passes an image, then 100 forward and backward passes an image"
    )
    published_names: ClassVar[tuple[str, ...]] = ("HYPO+",)
    usual: ClassVar[Mapping[str, Any]] = {"step_size": 0.8}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 2,
            "surrogate_batch_size": 32,
            "crop_padding": 0,
            "robust_steps": 2,
            "iterations": 4,
        },
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "robust_steps": 5,
            "shift": 0.5,
            "iterations": 20,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "robust_steps": 2,
            "shift": 0.5,
            "iterations": 10,
        },
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        attack = RobustTraining(self.robust_radius, self.robust_radius / 4, self.robust_steps)
        start = self.surrogate_start
        model = trained_on_clean(view, context, self.surrogate, self._recipe(), attack, start=start)
        moves = ShiftFlip(mean_colour(view.images), self.shift, self.flip)
        radius = self.budget.radius / 255
        size = radius / 10 if self.step_size is None else self.step_size / 255
        walk = Walk(radius, size, self.iterations)
        return descend(model, view, context, self.budget, walk, self.batch_size, self.bf16, moves)

    def _recipe(self) -> Recipe:
        """The surrogate's recipe."""
        return Recipe(
            epochs=self.surrogate_epochs,
            batch_size=self.surrogate_batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule="constant",
            warmup_epochs=self.warmup_epochs,
            crop_padding=self.crop_padding,
            bf16=self.bf16,
        )
