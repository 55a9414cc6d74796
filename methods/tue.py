"""Transferable unlearnable examples: contrastive error-minimizing noise that is also separable by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

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
)
from ue_bench.crafting.contrastive import Blueprint, Learner
from ue_bench.crafting.orders import Endless, in_order, shuffled
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import Index, ResidentImages, zero_noise
from ue_bench.crafting.surrogates import sgd
from ue_bench.crafting.views import Augmentation
from ue_bench.errors import ConfigError, TrainingError

from ._tue.separability import class_separability, sign_agreement


@dataclass(frozen=True)
class Released:
    """The settings that the authors released for one framework. TUE's fields with the same names override them."""

    model_steps: int
    noise_steps: int
    ssl_weight: float
    csd_weight: float
    start: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    temperature: float


RELEASED = {
    "simclr": Released(20, 20, 0.0, 0.1, "uniform", "adam", 1e-3, 1e-6, 0.5),
    "simsiam": Released(25, 20, 0.0, 0.1, "uniform", "sgd", 0.06, 5e-4, 0.5),
    "moco": Released(100, 5, 1.0, 1.0, "zero", "sgd", 0.3, 1e-4, 0.2),
}


@dataclass(frozen=True)
class TUE(Method):
    """TUE, transferable unlearnable examples (Ren et al., ICLR 2023), written from the paper.

    Each image's noise lowers ``ssl_weight`` x a contrastive loss of a surrogate, which is trained in turns with it,
    plus ``csd_weight`` x the classwise separability discriminant of the noise alone, batch by batch.

    The settings released for simclr and simsiam have an ``ssl_weight`` of 0: the surrogate does not influence the
    noise, so it is not trained (the record says so), and images matter only where they with noise would leave
    [0, 1]. The result is close to one pattern of +-8/255 per class. Only moco uses a network.

    The authors' code treats spreads in the discriminant as constants (``detach_spread``), and gives all images of a
    batch the same crop and colours in noise steps (``official_shared_views``). Its MoCo has a linear projection, and
    renews its queue in noise steps, too (``moving_queue``); its batch normalisation is not split here. Batches are of
    equal size here, because the class centres of a small last batch would be unreliable.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # one noise per image, though those of a class become very similar
    framework: Literal["simclr", "simsiam", "moco"] = "simclr"  # the loss and the released settings
    surrogate: str = "resnet18"  # a victim's name, trained from scratch; paper. Unused where ssl_weight is 0
    surrogate_start: Literal["pytorch", "torchvision", "own"] = "torchvision"  # first weights; authors' code
    rounds: Count = 200  # of training, then noise; released: 40 epochs x 5, simsiam 50 x 4, moco 200 x 1
    model_steps: Count | None = None  # training steps per round; None: 20, simsiam 25, moco 100 (released)
    noise_steps: Count | None = None  # sign steps per round; None: 20 simclr, simsiam, 5 moco (released)
    step_size: Positive = 0.8  # steps of 1/255; released. Does not follow the budget
    batch_size: Count = 512  # images, at most, for training and for noise; released
    ssl_weight: NotNegative | None = None  # of the contrastive loss; None: 0, moco 1 (released)
    csd_weight: NotNegative | None = None  # of the discriminant; None: 0.1 simclr, simsiam, 1 moco (released)
    start: Literal["uniform", "zero"] | None = None  # uniform within the budget; None: moco zero (released)
    detach_spread: bool = True  # as released; False: the discriminant's full gradient, as the formula says
    both_branches: bool = True  # noise gradients pass through target branches too (simsiam, moco); released
    official_shared_views: bool = False  # in noise steps one crop and colour for a whole batch; released
    optimizer: Literal["sgd", "adam"] | None = None  # None: adam simclr, sgd simsiam and moco (released)
    learning_rate: float | None = None  # constant; None: 0.001 simclr, 0.06 simsiam, 0.3 moco (released)
    momentum: float = 0.9  # sgd; the field's usual value
    weight_decay: float | None = None  # None: 1e-6 simclr, 5e-4 simsiam, 1e-4 moco (released)
    temperature: float | None = None  # None: 0.5 simclr, 0.2 moco (released)
    queue: Count = 4096  # moco only: keys; released
    moving_queue: bool = True  # moco only: noise steps renew the queue, too; released
    encoder_momentum: float = 0.99  # moco only: share that the momentum encoder keeps in a step; released
    bf16: bool = True  # where the device gains by it; False: float32, as released

    version: ClassVar[int] = (
        2  # the discriminant is one of noise before pixels are clipped, and MoCo's head is linear
    )
    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = (
        "4,000 sign steps without any network (SimCLR, SimSiam); about 2,400 passes of a view an image (MoCo)"
    )
    published_names: ClassVar[tuple[str, ...]] = ("TUE",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"surrogate": "resnet_tiny", "rounds": 4, "model_steps": 2},
        "laptop": {"surrogate": "resnet_tiny", "rounds": 10},  # enough: classes have settled after about 5
        "quick": {"surrogate": "resnet_tiny", "rounds": 5},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = self.settings()
        if not settings.ssl_weight and (not settings.csd_weight or settings.start == "zero"):
            raise ConfigError(
                "tue's noise would never move: with ssl_weight 0 it needs a csd_weight above 0 and start=uniform"
            )

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """With an ``ssl_weight`` of 0 there is no surrogate, and only MoCo has a queue."""
        unused = {"surrogate_start"} if not self.settings().ssl_weight else set()
        return frozenset(unused if self.framework == "moco" else unused | {"moving_queue"})

    def settings(self) -> Released:
        """The settings released for the framework, overridden by the fields that are set."""
        own = {f.name: getattr(self, f.name) for f in fields(Released)}
        return replace(
            RELEASED[self.framework], **{name: value for name, value in own.items() if value is not None}
        )

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        settings = self.settings()
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        delta = zero_noise((len(images), 3, *images.size), context.device)
        if settings.start == "uniform":
            radius = self.budget.radius / 255
            for part in in_order(len(images), 4096):
                delta[part] = torch.empty(delta[part].shape).uniform_(
                    -radius, radius, generator=context.generator
                )
        learner = self._learner(context, view.image_size) if settings.ssl_weight else None
        search = Search(self, images, labels, view.classes, delta, learner, context)
        search.run()
        noise = Perturbation.from_float(search.delta, view.rows(self.granularity), self.budget)
        context.notes["sign_agreement_percent"] = 100 * sign_agreement(noise.noise, view.labels, view.classes)
        return noise

    def _learner(self, context: Context, image_size: tuple[int, int]) -> Learner:
        settings = self.settings()
        model = Blueprint(
            self.framework,
            self.surrogate,
            self.surrogate_start,
            temperature=settings.temperature,
            momentum=self.encoder_momentum,
            queue=self.queue,
            head="linear" if self.framework == "moco" else "normed",
            bf16=self.bf16,
        ).build(context, image_size)
        rate, decay = settings.learning_rate, settings.weight_decay
        optimizer = (
            torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
            if settings.optimizer == "adam"
            else sgd(model, rate, self.momentum, decay)
        )
        shown = Augmentation(shared=self.official_shared_views)
        return Learner(
            model,
            optimizer,
            context,
            noise_augmentation=shown,
            both_branches=self.both_branches,
            moving_queue=self.moving_queue,
        )


class Search:
    """Alternates between training and noise steps, and reports the course in ``context.notes``.

    Args:
        labels: int64 [N], on the device.
        delta: float32 [N, 3, H, W], [0, 1] pixel units; improved in place.
        learner: the surrogate, or None where it cannot influence the noise.
    """

    def __init__(
        self,
        method: TUE,
        images: ResidentImages,
        labels: Tensor,
        classes: int,
        delta: Tensor,
        learner: Learner | None,
        context: Context,
    ):
        self.method, self.settings = method, method.settings()
        self.images, self.labels, self.classes, self.delta = images, labels, classes, delta
        self.learner, self.context, self.generator = learner, context, context.generator
        self.walk = Walk(method.budget.radius / 255, method.step_size / 255, self.settings.noise_steps)

    def run(self) -> None:
        """Runs all rounds."""
        everything = torch.arange(len(self.images))
        size = min(self.method.batch_size, len(everything))
        training = Endless(lambda: shuffled(everything, size, self.generator), self.generator)
        losses: list[float] = []
        discriminants: list[float] = []
        rounds, parts = range(1, self.method.rounds + 1), {"batches": training, **self._parts()}
        curves = {"losses": losses, "discriminants": discriminants}
        for number in self.context.resumable(rounds, "round", **curves, **parts):
            if self.learner is None:
                discriminants.append(self._improve())
                continue
            for _ in range(self.settings.model_steps):
                loss = self.learner.learn(self.protected(next(training)))
            if not bool(loss.isfinite()):
                raise TrainingError(
                    f"tue's surrogate '{self.method.surrogate}' diverged in round {number}: "
                    f"lower learning_rate (now {self.settings.learning_rate:g})"
                )
            losses.append(float(loss))
            with frozen(self.learner.model):
                discriminants.append(self._improve())
        self.context.notes |= {
            "rounds": self.method.rounds,
            "sign_steps_per_image": self.method.rounds * self.settings.noise_steps,
            "discriminant_by_round": discriminants,
        }
        if self.learner is None:
            self.context.notes["surrogate"] = "not trained: with ssl_weight 0 it cannot influence the noise"
        else:
            self.context.notes["surrogate_loss_by_round"] = losses

    def protected(self, index: Index) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1]: the images at ``index`` with their noise."""
        return self.images.take(index).add_(self.delta[index].to(self.images.device)).clamp_(0, 1)

    def _parts(self) -> dict[str, Any]:
        """What a round changes, by name."""
        return {"delta": self.delta} | ({} if self.learner is None else {"learner": self.learner})

    def _improve(self) -> float:
        """Takes noise steps for every image, in batches of equal size; returns the last batch's discriminant."""
        order = torch.randperm(len(self.images), generator=self.generator)
        batches = order.tensor_split(math.ceil(len(order) / self.method.batch_size))
        for index in self.context.resumable(batches, "batch", **self._parts()):
            noise = self._walked(index)
            self.delta[index] = noise.to(self.delta.device)
        return float(class_separability(noise, self.labels[index], self.classes))

    def _walked(self, index: Tensor) -> Tensor:
        """float32 [B, 3, H, W]: the noise of the images at ``index`` after a walk."""
        images, labels = self.images.take(index), self.labels[index]

        def likeness(shown: Tensor) -> Tensor:
            assert self.learner is not None
            return self.settings.ssl_weight * self.learner.judge(shown) * len(shown)

        def apart(noise: Tensor) -> Tensor:
            value = class_separability(noise, labels, self.classes, self.method.detach_spread)
            return self.settings.csd_weight * value * len(noise)

        return project(
            images,
            self.delta[index].to(self.images.device),
            None if self.learner is None else likeness,
            self.walk,
            of_noise=apart if self.settings.csd_weight else None,
        )
