"""Robust error-minimizing noise, and stable error-minimizing noise as its option."""

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
    Whole,
)
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.orders import Endless, in_order, shuffled
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import Index, ResidentImages, zero_noise
from ue_bench.crafting.surrogates import sgd, training_step
from ue_bench.errors import TrainingError
from ue_bench.training.epochs import set_learning_rate

from ._rem.moves import Moves

DROPS = (
    0.4,
    0.8,
)  # shares of the training after which the learning rate falls: 2,000 and 4,000 of 5,000; code


@dataclass(frozen=True)
class REM(Method):
    """REM, robust error-minimizing noise (Fu et al., ICLR 2022), written from a specification of paper and code.

    min-min-max: a surrogate is trained adversarially on images whose noise, made anew for every batch, lowers the loss
    that is left after an attack on the noisy image. Images are mirrored and cropped before the attack, so the noise
    also lowers it on average over these. The last surrogate makes the noise of every image once more.

    ``stable`` is SEM (Liu et al., AAAI 2024, "Stable Unlearnable Example"): the attack behind the noise is random noise
    of the same radius, which is about nine times cheaper; the surrogate is still trained adversarially.

    The authors' last pass leaves out an incomplete batch, whose up to 80 images of CIFAR-10 keep older noise; here all
    images get the last surrogate's. Noise is rounded to whole steps of 1/255, as theirs.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # one noise per image
    stable: bool = False  # SEM: random noise in place of the attack while noise is made
    surrogate: str = "resnet18"  # a victim, trained from scratch; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    training_steps: Count = 5000  # of the surrogate, each with new noise for its batch; code. ImageNet: 3,000
    batch_size: Count = 128  # images; code
    learning_rate: Positive = 0.1  # SGD, x0.1 after 40 % and 80 % of the steps; code
    momentum: float = 0.9  # SGD; code
    weight_decay: NotNegative = 5e-4  # SGD; code
    noise_steps: Count = 10  # sign steps from new random noise; code. ImageNet: 7
    step_size: Positive = 1.6  # steps of 1/255; code: a fifth of the budget. Does not follow it
    draws: Count = 5  # of flip and crop for each step's gradient; code. ImageNet: 4
    robust_radius: NotNegative = (
        4.0  # steps of 1/255, linf: the victims' attack that noise must survive; paper
    )
    attack_steps: Count = 10  # sign steps of the attack, from a random start; code
    attack_step_size: Positive = 0.8  # steps of 1/255; code: a fifth of the radius. Does not follow it
    crop_padding: Whole = 4  # black pixels around the image before a random crop, 0: no crop; code
    flip: bool = True  # mirror each image with probability one half; code
    bf16: bool = True  # where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    variants: ClassVar[frozenset[str]] = frozenset({"stable"})
    cost: ClassVar[str] = "7,700 forward and backward passes an image; stable: 850"
    published_names: ClassVar[tuple[str, ...]] = ("REM",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "resnet_tiny",
            "training_steps": 4,
            "batch_size": 32,
            "noise_steps": 2,
            "step_size": 8.0,
            "draws": 1,
            "attack_steps": 1,
            "attack_step_size": 4.0,
        },
        # So small a surrogate does not learn cropped images in so few steps; its victims are not cropped either.
        "laptop": {
            "surrogate": "resnet_tiny",
            "crop_padding": 0,
            "training_steps": 1000,
            "noise_steps": 5,
            "step_size": 3.2,
            "draws": 1,
            "attack_steps": 3,
            "attack_step_size": 2.7,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "crop_padding": 0,
            "training_steps": 150,
            "noise_steps": 3,
            "step_size": 5.3,
            "draws": 1,
            "attack_steps": 2,
            "attack_step_size": 4.0,
        },
    }

    def published_as(self, paradigm: str) -> tuple[str, ...]:
        """REM, or SEM if it is stable."""
        return ("SEM",) if self.stable else self.published_names

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        start = self.surrogate_start
        model = _Centred(context.surrogate(self.surrogate, view.classes, view.image_size, start=start))
        images = ResidentImages(view.images, context.device)
        search = _Search(self, images, view.labels.to(context.device), context)
        search.train(model)
        delta = search.all_noise(model)
        noise = Perturbation.from_float(delta, view.rows(self.granularity), self.budget)
        context.notes["surrogate_error_percent"] = 100 * search.error(model, noise.noise)
        return noise


class _Centred(nn.Module):
    """A model that sees pixels from -0.5 to 0.5, as the authors' does."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images - 0.5)


class _Search:
    """The training of REM's surrogate, and noise against it."""

    def __init__(self, method: REM, images: ResidentImages, labels: Tensor, context: Context):
        self.method, self.images, self.context = method, images, context
        self.objective = Classification(labels, method.bf16)
        self.draws = torch.Generator(context.device).manual_seed(context.seed)
        radius = method.robust_radius / 255
        self.attack = Walk(radius, method.attack_step_size / 255, method.attack_steps, maximise=True)

    def train(self, model: nn.Module) -> None:
        """All steps of the surrogate."""
        method, context = self.method, self.context
        optimizer = sgd(model, method.learning_rate, method.momentum, method.weight_decay)
        everything = torch.arange(len(self.images))
        batches = Endless(
            lambda: shuffled(everything, method.batch_size, context.generator), context.generator
        )
        parts = {"model": model, "optimizer": optimizer, "batches": batches, "draws": self.draws}
        losses: list[float] = []
        for step in context.resumable(range(method.training_steps), "step", losses=losses, **parts):
            index = next(batches)
            delta = (self.noise(model, index) * 255).round_() / 255
            moves = self._moves(len(index))
            shown = moves((self.images.take(index) + delta).clamp_(0, 1))
            with frozen(model):
                shown = self._attacked(model, shown, index)
            model.train()
            loss = self.objective.loss(model, shown, index) / len(index)
            drops = sum(step >= share * method.training_steps for share in DROPS)
            set_learning_rate(optimizer, method.learning_rate * 0.1**drops)
            training_step(model, optimizer, loss, 0.0)
            losses.append(float(loss.detach()))
            if not losses[-1] < float("inf"):
                raise TrainingError(
                    f"rem's surrogate '{method.surrogate}' diverged in step {step + 1}: "
                    f"lower learning_rate (now {method.learning_rate:g})"
                )
        last = losses[-max(1, len(losses) // 10) :]
        context.notes |= {"surrogate_first_loss": losses[0], "surrogate_last_loss": sum(last) / len(last)}

    def all_noise(self, model: nn.Module) -> Tensor:
        """float32 [N, 3, H, W]: noise of every image against the model as it is now."""
        delta = zero_noise((len(self.images), 3, *self.images.size), self.context.device)
        batches = in_order(len(self.images), self.method.batch_size)
        for index in self.context.resumable(batches, "batch", delta=delta, draws=self.draws):
            delta[index] = self.noise(model, index).to(delta.device)
        return delta

    def noise(self, model: nn.Module, index: Index) -> Tensor:
        """float32 [B, 3, H, W]: noise for the images at ``index``, from a random start; the model stays as it is."""
        clean = self.images.take(index)
        radius, step = self.method.budget.radius / 255, self.method.step_size / 255
        delta = self._uniform(clean, radius)
        with frozen(model):
            for _ in range(self.method.noise_steps):
                wide = clean + delta
                gradient = torch.zeros_like(clean)
                for _ in range(self.method.draws):
                    moves = self._moves(len(clean))
                    shown = moves(wide.clamp(0, 1))
                    if self.method.stable:
                        shown = (shown + self._uniform(shown, self.attack.radius)).clamp_(0, 1)
                    else:
                        shown = self._attacked(model, shown, index)
                    gradient += moves.back(self._gradient(model, shown, index))
                gradient *= (wide >= 0) & (wide <= 1)  # a saturated pixel shows nothing of its noise
                delta = delta.sub_(gradient.sign_(), alpha=step).clamp_(-radius, radius)
        return delta

    @torch.no_grad()
    def error(self, model: nn.Module, noise: Tensor) -> float:
        """The share of images, published with noise, int8 [N, 3, H, W], that the model gets wrong."""
        wrong = 0
        with frozen(model):
            for index in in_order(len(self.images), 1000):
                shown = self.images.take(index).add_(noise[index].to(self.images.device) / 255).clamp_(0, 1)
                wrong += int(self.objective.errors(model, shown, index))
        return wrong / len(self.images)

    def _attacked(self, model: nn.Module, shown: Tensor, index: Index) -> Tensor:
        """The worst images that the attack finds within the robust radius."""
        if not self.attack.radius:
            return shown
        start = self._uniform(shown, self.attack.radius)
        worst = project(shown, start, lambda images: self.objective.loss(model, images, index), self.attack)
        return (shown + worst).clamp_(0, 1)

    def _gradient(self, model: nn.Module, shown: Tensor, index: Index) -> Tensor:
        shown = shown.detach().requires_grad_()
        with torch.enable_grad():
            loss = self.objective.loss(model, shown, index)
        return torch.autograd.grad(loss, shown)[0]

    def _moves(self, count: int) -> Moves:
        return Moves.draw(count, self.method.crop_padding, self.method.flip, self.draws)

    def _uniform(self, like: Tensor, radius: float) -> Tensor:
        return torch.empty_like(like).uniform_(-radius, radius, generator=self.draws)
