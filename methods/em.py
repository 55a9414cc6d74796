"""Error-minimizing noise, image-wise and class-wise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView
from ue_bench.crafting.noise import ClassNoise, ImageNoise, Noise
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.pgd import Walk, frozen
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.surrogates import sgd, training_step
from ue_bench.errors import ConfigError, TrainingError


@dataclass(frozen=True)
class EM(Method):
    """EM, error-minimizing noise (Huang et al., ICLR 2021, "Unlearnable Examples"), written from the paper.

    A surrogate takes a few training steps on the protected images, then sign-gradient steps on the noise
    lower its loss; the two alternate until the surrogate errs on at most ``stop_error`` of the images.
    Nothing is augmented, and the learning rate is constant.

    The authors' code drops all negative noise when it saves (they call it a bug) and truncates instead of
    rounding: ``official_one_sided`` and ``official_floor`` bring that back. It also trains the surrogate on
    images that noise has pushed out of [0, 1], which are clipped here, and knows no cap on rounds.
    """

    budget: Budget = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # image (the paper's "sample-wise") or class
    surrogate: str = "resnet18"  # a victim's name, trained from scratch; paper
    model_steps: int = 10  # training steps a round; paper. CIFAR-100 image-wise: 20
    noise_steps: int | None = None  # sign steps a batch and round; None: 20 image-wise, 1 class-wise (paper)
    step_size: float = 0.8  # steps of 1/255; paper: a tenth of 8. Does not follow the budget
    batch_size: int = 512  # images, for training and for noise; authors' code
    learning_rate: float = 0.1  # SGD, constant; paper
    momentum: float = 0.9  # SGD; authors' code
    weight_decay: float = 5e-4  # SGD; authors' code. CIFAR-100: 5e-5
    gradient_clip: float = 5.0  # largest global norm of the surrogate's gradient, 0: none; authors' code
    stop_error: float = 0.01  # share of protected images that the surrogate may get wrong; paper
    max_rounds: int = 50  # our cap, the paper has none (it needs about 10); reaching it is reported
    subset_share: float = 0.2  # class-wise only: share of each class to make noise on; authors' code
    official_one_sided: bool = False  # drop negative noise, as the authors' code does
    official_floor: bool = False  # truncate to whole steps (0.8 to 0, -0.8 to -1), as the authors' code does
    bf16: bool = True  # where the accelerator has it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image", "class")
    cost: ClassVar[str] = (
        "200 forward and backward passes an image in 10 rounds (image-wise), 0.3 a round (class-wise)"
    )
    published_names: ClassVar[tuple[str, ...]] = ("EM",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"surrogate": "resnet_tiny", "batch_size": 64, "max_rounds": 2},
        "laptop": {
            "surrogate": "resnet_tiny",
            "batch_size": 128,
        },  # few images: 512 makes two updates a round
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget.norm != "linf" or self.budget.empty or self.budget.signs != "both":
            raise ConfigError(
                f"em needs an linf budget such as linf:8, not {self.budget}; "
                "for noise of one sign say official_one_sided=true"
            )
        for name in ("model_steps", "noise_steps", "batch_size", "max_rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"em's {name} must be at least 1, not {value}")
        for name in ("step_size", "learning_rate", "subset_share"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"em's {name} must be above 0, not {getattr(self, name)}")
        if self.subset_share > 1:
            raise ConfigError(f"em's subset_share is a share, at most 1, not {self.subset_share}")

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        model = context.surrogate(self.surrogate, view.classes, view.image_size)
        noise = self._start(view, context)
        self._search(model, noise, context)
        delta, budget = noise.delta, self.budget
        if self.official_one_sided:
            delta, budget = delta.clamp_min(0), replace(budget, signs="positive")
        return Perturbation.from_float(delta, view.rows(self.granularity), budget, floor=self.official_floor)

    def _start(self, view: ProtectorView, context: Context) -> Noise:
        classwise = self.granularity == "class"
        steps = self.noise_steps or (1 if classwise else 20)
        walk = Walk(radius=self.budget.radius / 255, step_size=self.step_size / 255, steps=steps)
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        objective = Classification(labels, self.bf16)
        if not classwise:
            return ImageNoise(images, objective, walk, self.batch_size)
        return ClassNoise(
            images,
            objective,
            walk,
            self.batch_size,
            labels=labels,
            classes=view.classes,
            share=self.subset_share,
            generator=context.generator,
        )

    def _search(self, model: nn.Module, noise: Noise, context: Context) -> None:
        """Trains the surrogate and improves the noise in turns; what happened goes to ``context.notes``."""
        optimizer = sgd(model, self.learning_rate, self.momentum, self.weight_decay)
        batches = noise.training_batches()
        errors: list[float] = []
        for number in context.progress.track(range(1, self.max_rounds + 1), "round"):
            model.train()
            for _ in range(self.model_steps):
                loss = noise.mean_loss(model, next(batches))
                training_step(model, optimizer, loss, self.gradient_clip)
            if not bool(loss.isfinite()):
                raise TrainingError(
                    f"em's surrogate '{self.surrogate}' diverged in round {number}: "
                    f"lower learning_rate (now {self.learning_rate:g})"
                )
            with frozen(model):
                noise.improve(model)
                errors.append(noise.error(model))
            if errors[-1] <= self.stop_error:
                break
        capped = errors[-1] > self.stop_error
        context.notes |= {
            "rounds": len(errors),
            "reached_max_rounds": capped,
            "surrogate_error_percent": 100 * errors[-1],
            "surrogate_accuracy_percent_by_round": [100 * (1 - error) for error in errors],
        }
        if capped:
            context.warn(
                f"em stopped at its cap of {self.max_rounds} rounds: its surrogate still gets "
                f"{100 * errors[-1]:.1f} % of the protected images wrong (goal: {100 * self.stop_error:g} %)"
            )
