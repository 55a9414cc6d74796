"""Error-maximizing noise, image-wise and class-wise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

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
    PositiveShare,
    ProtectorView,
    Recipe,
    Share,
)
from ue_bench.crafting.noise import ClassNoise, Noise, as_saved, chosen, noise_for_labels, one_sided_budget
from ue_bench.crafting.pgd import frozen
from ue_bench.crafting.surrogates import trained_on_clean


@dataclass(frozen=True)
class Emax(Method):
    """Emax, error-maximizing noise (Huang et al., ICLR 2021, as a comparison to EM), written from the paper.

    Untargeted adversarial examples of a surrogate that was trained on the clean images: sign-gradient steps
    raise its loss, sweep after sweep over the data, until it errs on ``stop_error`` of the protected images.
    The surrogate does not change meanwhile. T2UE's tables cite Koh & Liang (2017) for this row, but that work is
    about influence functions, and the method uses none of it.

    Class-wise noise follows the authors' code; the paper does not have it. It is made on a share of each class, on
    which alone the surrogate is trained, too, and each step takes the mean of the noises of a class's images.

    The authors' code drops all negative noise when it saves (they call it a bug) and truncates instead of
    rounding: ``official_one_sided`` and ``official_floor`` do the same. It has no cap on sweeps.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # image (the paper's "sample-wise") or class
    surrogate: str = "resnet18"  # a victim's name, trained on clean images; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = "pytorch"  # first weights; authors' code
    surrogate_epochs: Count | None = None  # None: 60, from 100 classes on 100; authors' code
    surrogate_batch_size: Count = 512  # images; authors' code
    learning_rate: Positive = 0.1  # SGD, cosine to 0 over the epochs; authors' code
    momentum: float = 0.9  # SGD; authors' code
    weight_decay: NotNegative | None = None  # SGD; None: 5e-4, from 100 classes on 5e-5; authors' code
    gradient_clip: float = 5.0  # largest global norm of the surrogate's gradient, 0: none; authors' code
    warmup_epochs: float = 0.0  # linear; authors' code has none, short trainings benefit from one
    crop_padding: int = 4  # pixels around the surrogate's random crops, 0: no crops; authors' code
    flip: bool = True  # mirror half of the surrogate's images; authors' code
    noise_steps: Count | None = None  # sign steps per batch and sweep; None: 20, class-wise 1 (paper)
    step_size: Positive = 0.8  # steps of 1/255; paper: a tenth of 8. Does not follow the budget
    batch_size: Count = 512  # images, for noise; authors' code
    stop_error: Share | None = None  # share the surrogate must get wrong; None: 0.9, class-wise 0.8 (code)
    max_sweeps: Count = 20  # our cap, the paper has none (Emax needs one or two); reaching it is reported
    subset_share: PositiveShare = 0.2  # class-wise only: share of each class to use; authors' code
    official_one_sided: bool = False  # drop negative noise, as the authors' code does
    official_floor: bool = False  # truncate to whole steps (0.8 to 0, -0.8 to -1), as the authors' code does
    bf16: bool = True  # where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class")
    cost: ClassVar[str] = "60 epochs of a surrogate, shared, then 20 forward and backward passes an image"
    published_names: ClassVar[tuple[str, ...]] = ("Emax",)
    usual: ClassVar[Mapping[str, Any]] = {"surrogate_epochs": 60, "weight_decay": 5e-4}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 3,
            "surrogate_batch_size": 32,
            "crop_padding": 0,
            "noise_steps": 5,
            "step_size": 3.2,
            "max_sweeps": 2,
        },
        # So small a surrogate learns in so short a training only with small batches, a warm-up and no crops.
        "laptop": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 20,
            "surrogate_batch_size": 64,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "batch_size": 128,
            "max_sweeps": 4,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "surrogate_epochs": 12,
            "surrogate_batch_size": 32,
            "warmup_epochs": 1.0,
            "crop_padding": 0,
            "batch_size": 128,
            "noise_steps": 8,
            "step_size": 2.0,
            "max_sweeps": 1,
        },
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        noise = noise_for_labels(self, view, context, maximise=True)
        subset = noise.subset if isinstance(noise, ClassNoise) else None
        model = trained_on_clean(
            view,
            context,
            self.surrogate,
            self._recipe(view.classes),
            subset=subset,
            start=self.surrogate_start,
        )
        with frozen(model):
            self._search(model, noise, context)
        return as_saved(self, noise, view)

    def promised_budget(self, image_size: tuple[int, int]) -> Budget:
        """The budget, one-sided if negative noise is dropped as in the authors' code."""
        return one_sided_budget(self)

    def _recipe(self, classes: int) -> Recipe:
        """The surrogate's recipe."""
        return Recipe(
            epochs=chosen(self.surrogate_epochs, classes, few=60, many=100),
            batch_size=self.surrogate_batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=chosen(self.weight_decay, classes, few=5e-4, many=5e-5),
            warmup_epochs=self.warmup_epochs,
            crop_padding=self.crop_padding,
            flip=self.flip,
            gradient_clip=self.gradient_clip,
            bf16=self.bf16,
        )

    def _search(self, model: nn.Module, noise: Noise, context: Context) -> None:
        """Sweeps over the data until the surrogate errs often enough; reports it in ``context.notes``."""
        goal = self.stop_error
        if goal is None:
            goal = 0.8 if self.granularity == "class" else 0.9
        clean_error = noise.error(model)
        errors: list[float] = []
        for _ in context.resumable(range(self.max_sweeps), "sweep", delta=noise.delta, errors=errors):
            noise.improve(model)
            errors.append(noise.error(model))
            if errors[-1] >= goal:
                break
        capped = errors[-1] < goal
        context.notes |= {
            "sweeps": len(errors),
            "reached_max_sweeps": capped,
            "surrogate_clean_error_percent": 100 * clean_error,
            "surrogate_error_percent": 100 * errors[-1],
            "surrogate_error_percent_by_sweep": [100 * error for error in errors],
        }
        if capped:
            context.warn(
                f"emax stopped at its cap of {self.max_sweeps} sweeps: its surrogate gets only "
                f"{100 * errors[-1]:.1f} % of the protected images wrong (goal: {100 * goal:g} %)"
            )
