"""Augmented adversarial poisons: adversarial examples under the augmentation of contrastive learning."""

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
from ue_bench.errors import ConfigError

from ._aue.views import StrongViews


@dataclass(frozen=True)
class AAP(Method):
    """AAP, augmented adversarial poisons (Wang, Zhu, Gao, NeurIPS 2024), written from the paper.

    TAP's adversarial examples, which point to the next class, but the surrogate is trained on crops, colours and
    greyscale of contrastive learning, with one ``strength``, and each noise step takes a new view. With ``untargeted``
    the noise leads away from the own label, the authors' option. There are no restarts.

    The hue is turned in RGB, which is linear, and not in HSV.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    surrogate: str = "resnet18"  # a victim, trained on clean images; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    surrogate_epochs: Count = 40  # cosine to 0; paper
    surrogate_batch_size: Count = 128  # images; the field's usual value
    learning_rate: Positive = 0.5  # SGD; paper
    momentum: NotNegative = 0.9  # SGD; the field's usual value
    weight_decay: NotNegative = 1e-4  # SGD; paper
    warmup_epochs: NotNegative = 10.0  # linear; paper
    strength: Share = 0.4  # of the augmentation, 0 to 1; paper. CIFAR-100: 0.8
    untargeted: bool = False  # away from the own label instead of towards the next class; authors' option
    iterations: Count = 250  # sign steps per image, from zero, each on a new view; paper
    step_size: Positive | None = None  # steps of 1/255; None: 2.5 budgets / iterations, 0.08 of 8 (paper)
    batch_size: Count = 256  # images, for noise
    bf16: bool = True  # where the device gains by it; False: float32

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    variants: ClassVar[frozenset[str]] = frozenset({"untargeted"})
    cost: ClassVar[str] = "40 epochs of a surrogate, then 250 forward and backward passes an image"
    published_names: ClassVar[tuple[str, ...]] = ("AAP",)
    usual: ClassVar[Mapping[str, Any]] = {"step_size": 0.08}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 3,
            "surrogate_batch_size": 32,
            "learning_rate": 0.1,
            "warmup_epochs": 1.0,
            "iterations": 4,
        },
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 20,
            "surrogate_batch_size": 64,
            "learning_rate": 0.1,
            "warmup_epochs": 1.0,
            "iterations": 40,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 12,
            "surrogate_batch_size": 32,
            "learning_rate": 0.1,
            "warmup_epochs": 1.0,
            "iterations": 12,
        },
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        if view.classes < 2:
            raise ConfigError("aap needs at least two classes: the noise leads from one to another")
        views = StrongViews(self.strength)
        start = self.surrogate_start
        model = trained_on_clean(view, context, self.surrogate, self._recipe(), views, start=start)
        radius = self.budget.radius / 255
        size = 2.5 * radius / self.iterations if self.step_size is None else self.step_size / 255
        walk = Walk(radius, size, self.iterations, maximise=self.untargeted)
        aim = view.labels if self.untargeted else (view.labels + 1) % view.classes
        return descend(model, view, context, self.budget, walk, self.batch_size, self.bf16, views, aim)

    def _recipe(self) -> Recipe:
        """The surrogate's recipe, without the crops and flips that the views do."""
        return Recipe(
            epochs=self.surrogate_epochs,
            batch_size=self.surrogate_batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            crop_padding=0,
            flip=False,
            bf16=self.bf16,
        )
