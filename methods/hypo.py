"""Hypocritical perturbations: noise that makes a clean surrogate more certain of each image's own label."""

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
)
from ue_bench.crafting.descent import descend
from ue_bench.crafting.pgd import Walk
from ue_bench.crafting.surrogates import falls_after, trained_on_clean

DECAYS = (2 / 3, 5 / 6)  # shares of the epochs: after 100 and 125 of 150


@dataclass(frozen=True)
class HYPO(Method):
    """HYPO, P2 of the delusive adversaries (Tao et al., NeurIPS 2021), written from the paper.

    A surrogate is trained on the clean images and frozen; steps from zero lower its cross-entropy to each image's own
    label. So images look easier than they are. It is a weak attack, of use as a negative control.

    Two threat models bear the name. The paper's is L2 0.5 with a VGG-16: say ``hypo.budget=l2:0.5``. APBench, ISS and
    later papers mean Linf 8/255 with a ResNet-18, the default here. ``hypo_robust`` is another paper's attack.

    The authors keep the epoch that is best on 1,000 held-out images; here the last one is kept, and all images train.
    """

    budget: Annotated[Budget, Norms("linf", "l2")] = Budget("linf", 8)  # linf 8 (APBench, ISS); paper: l2:0.5
    granularity: str = "image"  # each image has its own noise
    surrogate: str | None = (
        None  # a victim, trained on clean images; None: resnet18, with an l2 budget vgg16 (paper)
    )
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    surrogate_epochs: Count = 150  # learning rate x0.1 after 100 and 125 of 150, scaled; paper
    surrogate_batch_size: Count = 128  # images; the field's usual value
    learning_rate: Positive = 0.1  # SGD; paper
    momentum: NotNegative = 0.9  # SGD; the field's usual value
    weight_decay: NotNegative = 5e-4  # SGD; paper
    warmup_epochs: NotNegative = 0.0  # linear; the paper has none, short trainings benefit from one
    crop_padding: int = 4  # pixels around the surrogate's random crops, 0: no crops; the field's usual value
    iterations: Count = 100  # steps per image; paper
    step_size: Positive | None = None  # in the budget's unit; None: a tenth of linf (0.8 of 8), a fifth of l2
    batch_size: Count = 256  # images, for noise; paper
    bf16: bool = True  # where the device gains by it; False: float32

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = "150 epochs of a surrogate, shared, then 100 forward and backward passes an image"
    published_names: ClassVar[tuple[str, ...]] = ("HYPO",)
    usual: ClassVar[Mapping[str, Any]] = {"surrogate": "resnet18", "step_size": 0.8}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 3,
            "surrogate_batch_size": 32,
            "crop_padding": 0,
            "iterations": 4,
        },
        # So small a surrogate learns in so short a training only with small batches, a warm-up and no crops.
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 18,
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "iterations": 20,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 12,
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "iterations": 10,
        },
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        name = self.surrogate or ("vgg16" if self.budget.norm == "l2" else "resnet18")
        model = trained_on_clean(view, context, name, self._recipe(), start=self.surrogate_start)
        return descend(model, view, context, self.budget, self._walk(), self.batch_size, self.bf16)

    def _walk(self) -> Walk:
        radius, size = self.budget.radius, self.step_size
        if self.budget.norm == "l2":
            return Walk(radius, radius / 5 if size is None else size, self.iterations, norm="l2")
        return Walk(radius / 255, (radius / 10 if size is None else size) / 255, self.iterations)

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
