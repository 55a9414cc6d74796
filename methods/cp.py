"""Contrastive poisoning: noise that makes two views of an image easy to match, class-wise and image-wise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from ue_bench import (
    Access,
    Budget,
    Context,
    Count,
    Method,
    Norms,
    Perturbation,
    Positive,
    PositiveShare,
    ProtectorView,
    Whole,
)
from ue_bench.crafting.contrastive import Blueprint, Learner
from ue_bench.crafting.orders import Endless, in_order, shuffled
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.crafting.resident import Index, ResidentImages, zero_noise
from ue_bench.crafting.surrogates import sgd
from ue_bench.errors import TrainingError
from ue_bench.seeds import derive

MOSTLY_STARTED = 0.75  # share of values that keep their signs; unrelated noise keeps half
BASE_TEMPERATURE = 0.07  # SupCon's: SimCLR's and MoCo's losses are multiplied by temperature / 0.07


@dataclass(frozen=True)
class Framework:
    """A framework's settings in the authors' code. CP's fields with the same names override them."""

    learning_rate: float
    temperature: float
    encoder_momentum: float


@dataclass(frozen=True)
class Turns:
    """How training and noise steps alternate in the authors' code. CP's fields with the same names override it.

    A 0 means one pass over the training set.
    """

    model_steps: int
    noise_batches: int
    noise_steps: int
    step_share: float
    kept_share: float


FRAMEWORKS = {
    "simclr": Framework(0.5, 0.5, 0.0),
    "moco": Framework(0.3, 0.2, 0.99),
    "byol": Framework(1.0, 0.0, 0.998),
}
CLASS_WISE = Turns(20, 20, 1, 0.1, 1.0)
IMAGE_WISE = {
    "simclr": Turns(0, 0, 5, 0.1, 0.8),
    "moco": Turns(0, 0, 5, 0.1, 1.0),
    "byol": Turns(0, 0, 1, 0.02, 1.0),
}


@dataclass(frozen=True)
class CP(Method):
    """CP, contrastive poisoning (He, Zha and Katabi, ICLR 2023), written from the paper.

    A contrastive surrogate and the noise lower the same loss in turns: two augmented views of each protected image
    must have the same features. Gradients pass through the augmentation and through both branches. Class-wise noise is
    shared by a class. Image-wise noise starts from class-wise noise (whose cost is listed under prepare), or from
    random noise, which needs no labels and is weaker.

    Noise at saturated pixels is kept, unlike in methods whose every step starts from clipped images. In the authors'
    code MoCo's and BYOL's momentum encoder, and MoCo's queue, are also updated in noise steps, in which the surrogate
    is frozen: ``official_moving_target``. Their loss for BYOL lets no gradient through the targets, against the paper:
    ``both_branches=false``. Their batch normalisation sees one GPU's part of a batch, here whole
    batches. Their input normalisation is left out, because batch normalisation follows the first layer.
    """

    budget: Annotated[Budget, Norms("linf", most=127)] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "class"  # class (the paper's CP-C) or image (CP-S, "sample-wise")
    framework: Literal["simclr", "moco", "byol"] = "simclr"  # moco: v2. T2UE does not say which it used
    surrogate: str = "resnet18"  # a victim's name, trained from scratch; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = "torchvision"  # first weights; authors' code
    class_rounds: Count = 1000  # rounds of class-wise noise, also where image-wise noise starts from it; code
    image_rounds: Count = 200  # rounds of image-wise noise; authors' code
    model_steps: Whole | None = (
        None  # training steps per round, 0: a pass; None: 20 class-wise, 0 image-wise (code)
    )
    noise_batches: Whole | None = None  # per round, 0: one pass; None: 20 class-wise, 0 image-wise (code)
    noise_steps: Count | None = (
        None  # sign steps per batch; None: 1 class-wise, 5 image-wise, 1 for byol (code)
    )
    step_share: Positive | None = None  # of the budget's radius; None: 0.1, 0.02 for image-wise byol (code)
    kept_share: PositiveShare | None = None  # share of rounds run; None: 1, image-wise simclr 0.8 (code)
    start: Literal["class", "random"] = "class"  # image-wise only: from class-wise noise, or random; paper
    batch_size: Count = 512  # images, for training and for noise; authors' code
    learning_rate: float | None = None  # SGD; None: 0.5 simclr, 0.3 moco, 1.0 byol (authors' code)
    final_rate_share: float = 1e-3  # of the learning rate, at its cosine's end; authors' code
    momentum: float = 0.9  # SGD; authors' code
    weight_decay: float = 1e-4  # SGD; authors' code
    temperature: float | None = None  # None: 0.5 simclr, 0.2 moco (authors' code)
    queue: Count = 4096  # moco only: keys; authors' code
    encoder_momentum: float | None = (
        None  # share kept in a step; None: 0.99 moco, 0.998 byol (0.999 twice); code
    )
    both_branches: bool = True  # noise gradients also pass through moco's and byol's momentum encoder; paper
    official_moving_target: bool = False  # update momentum encoder and queue in noise steps; authors' code
    bf16: bool = True  # where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS  # image-wise from random noise reads no labels
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("class", "image")
    cost: ClassVar[str] = (
        "about 820 forward and backward passes of a view an image (class-wise), 2,400 more (image-wise)"
    )
    published_names: ClassVar[tuple[str, ...]] = ("CP",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"surrogate": "resnet_tiny", "batch_size": 64, "class_rounds": 1, "image_rounds": 1},
        # After so few rounds, image-wise noise is still much like its class-wise start and protects where the paper's
        # does not.
        "laptop": {"surrogate": "resnet_tiny", "batch_size": 128, "class_rounds": 8, "image_rounds": 6},
        "quick": {"surrogate": "resnet_tiny", "batch_size": 128, "class_rounds": 3, "image_rounds": 2},
    }

    def turns(self) -> Turns:
        """The authors' turns for this granularity and framework, overridden by what is set."""
        return self._overridden(CLASS_WISE if self.granularity == "class" else IMAGE_WISE[self.framework])

    def settings(self) -> Framework:
        """The authors' settings for this framework, overridden by what is set."""
        return self._overridden(FRAMEWORKS[self.framework])

    def _overridden(self, given):
        own = {f.name: getattr(self, f.name) for f in fields(given)}
        return replace(given, **{name: value for name, value in own.items() if value is not None})

    def class_wise(self) -> CP:
        """The method that makes the class-wise noise from which image-wise noise starts."""
        released: dict[str, Any] = dict.fromkeys(f.name for f in fields(Turns))
        return replace(self, granularity="class", start="class", image_rounds=1, **released)

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        images = ResidentImages(view.images, context.device)
        if self.granularity == "class":
            noise = self.for_classes(images, view, context)
        else:
            noise = self.for_images(images, view, context)
        return Perturbation.from_float(noise, view.rows(self.granularity), self.budget)

    def for_classes(self, images: ResidentImages, view: ProtectorView, context: Context) -> Tensor:
        """float32 [classes, 3, H, W], [0, 1] pixel units."""
        start = self.random((view.classes, 3, *images.size), context)
        search = ClassSearch(self, images, start.clone(), context, view.labels.to(context.device))
        search.run(self.class_rounds)
        kept = float((search.noise.sign() == start.sign()).float().mean())
        context.notes["class_start_signs_percent"] = 100 * kept
        context.notes["class_moved_steps"] = 255 * float((search.noise - start).abs().mean())
        if kept > MOSTLY_STARTED:
            context.notes.setdefault("remarks", []).append(
                "cp: most of its noise still has the signs of the random noise per class from which it starts, and "
                "which protects by itself: what CP adds is the difference to random (class)"
            )
        return search.noise

    def for_images(self, images: ResidentImages, view: ProtectorView, context: Context) -> Tensor:
        """float32 [N, 3, H, W], [0, 1] pixel units."""
        shape, parts = (len(images), 3, *images.size), in_order(len(images), 4096)
        if self.start == "random":
            noise = self.random(shape, context)
        else:
            first, labels = self.class_wise(), view.labels
            kept = context.keep(
                {"cp class-wise": first.parameters()},
                lambda: {"noise": first.for_classes(images, view, context).cpu()},
            )["noise"]
            noise = zero_noise(shape, context.device)
            for part in parts:
                noise[part] = kept[labels[part]].to(noise.device)
        search = ImageSearch(self, images, noise, context)
        search.run(self.image_rounds)
        if self.start == "class":
            moved = [
                (search.noise[part] - kept[labels[part]].to(noise.device)).abs().mean() for part in parts
            ]
            context.notes["image_moved_steps"] = 255 * float(torch.stack(moved).mean())
        return search.noise

    def random(self, shape: tuple[int, ...], context: Context) -> Tensor:
        """float32 noise of this shape, uniform within the budget, [0, 1] pixel units."""
        noise = zero_noise(shape, context.device)
        radius = self.budget.radius / 255
        generator = self.dice(context)
        for part in in_order(len(noise), 4096):
            noise[part] = torch.empty(noise[part].shape).uniform_(-radius, radius, generator=generator)
        return noise

    def dice(self, context: Context) -> torch.Generator:
        """This granularity's own generator, so that it does not matter if class-wise noise was loaded or made."""
        return torch.Generator().manual_seed(derive(context.seed, self.granularity))

    def learner(self, context: Context, image_size: tuple[int, int]) -> Learner:
        """A fresh surrogate with its optimizer."""
        settings = self.settings()
        model = Blueprint(
            self.framework,
            self.surrogate,
            self.surrogate_start,
            temperature=settings.temperature,
            loss_scale=settings.temperature / BASE_TEMPERATURE,
            momentum=settings.encoder_momentum,
            queue=self.queue,
            bf16=self.bf16,
        ).build(context, image_size)
        return Learner(
            model,
            sgd(model, settings.learning_rate, self.momentum, self.weight_decay),
            context,
            both_branches=self.both_branches,
            moving_target=self.official_moving_target,
        )


class Search:
    """Alternates between training and noise steps, and reports the course in ``context.notes``.

    Args:
        noise: float32 [R, 3, H, W], [0, 1] pixel units; improved in place.
    """

    def __init__(self, method: CP, images: ResidentImages, noise: Tensor, context: Context):
        self.method, self.images, self.noise, self.context = method, images, noise, context
        self.turns, radius = method.turns(), method.budget.radius / 255
        self.walk = Walk(radius, self.turns.step_share * radius, self.turns.noise_steps)
        self.learner = method.learner(context, images.size)
        everything, size = torch.arange(len(images)), min(method.batch_size, len(images))
        self.generator = method.dice(context)
        self.batches = Endless(lambda: shuffled(everything, size, self.generator), self.generator)
        self.parts = {
            "learner": self.learner,
            "noise": noise,
            "batches": self.batches,
            "generator": self.generator,
        }
        self.pass_steps = len(images) // size

    def run(self, rounds: int) -> None:
        """Runs the first ``kept_share`` of a schedule of ``rounds`` rounds."""
        done = max(1, round(self.turns.kept_share * rounds))
        losses: list[float] = []
        for number in self.context.resumable(range(done), "round", losses=losses, **self.parts):
            self._set_rate(number / rounds)
            steps = range(self.turns.model_steps or self.pass_steps)
            for _ in self.context.resumable(steps, "step", **self.parts):
                loss = self.learner.learn(self.protected(next(self.batches)))
            if not bool(loss.isfinite()):
                raise TrainingError(
                    f"cp's surrogate '{self.method.surrogate}' diverged in round {number + 1}: "
                    f"lower learning_rate (now {self.method.settings().learning_rate:g})"
                )
            losses.append(float(loss))
            with frozen(self.learner.model):
                for index in self.context.resumable(list(self.noise_batches()), "batch", **self.parts):
                    self.improve(index)
        index = next(self.batches)
        with frozen(self.learner.model):
            protected, clean = self.learner.compare(self.protected(index), self.images.take(index))
        self.context.notes |= {
            "rounds": done,
            "surrogate_loss_by_round": losses,
            "surrogate_loss_protected": protected,
            "surrogate_loss_clean": clean,
        }

    def noise_batches(self) -> Iterator[Tensor]:
        """The batches of images in one round's noise steps: some batches, or all images in batches of equal size."""
        if self.turns.noise_batches:
            for _ in range(self.turns.noise_batches):
                yield next(self.batches)
            return
        order = torch.randperm(len(self.images), generator=self.generator)
        yield from order.tensor_split(math.ceil(len(order) / self.method.batch_size))

    def protected(self, index: Index) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1]: the images at ``index`` with their noise."""
        return self.images.take(index).add_(self.of(index)).clamp_(0, 1)

    def of(self, index: Index) -> Tensor:
        """float32 [B, 3, H, W], on the device: the noise of the images at ``index``."""
        raise NotImplementedError

    def improve(self, index: Tensor) -> None:
        """Noise steps on the images at ``index``."""
        raise NotImplementedError

    def walked(self, noise: Tensor, index: Tensor, shares: Tensor | None = None) -> Tensor:
        """float32 [R, 3, H, W]: ``noise`` after a walk that clips pixels only to compute the loss.

        Args:
            noise: float32 [R, 3, H, W], one per image at ``index``, or assigned to the images by ``shares``.
            shares: float32 [B, R], one-hot rows: the noise of each image.
        """
        images = self.images.take(index)
        grey = torch.full_like(noise, 0.5)  # grey never saturates, so each step starts from the noise itself

        def loss(shown: Tensor) -> Tensor:
            delta = shown - grey
            if shares is not None:
                delta = (shares @ delta.flatten(1)).view(images.shape)
            return self.learner.judge((images + delta).clamp(0, 1)) * len(images)

        return project(grey, noise, loss, self.walk)

    def _set_rate(self, share: float) -> None:
        rate, last = self.method.settings().learning_rate, self.method.final_rate_share
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate * (last + (1 - last) * (1 + math.cos(math.pi * share)) / 2)


class ClassSearch(Search):
    """One noise per class, which follows the summed gradient of all the class's images in a batch.

    Args:
        labels: int64 [N], on the device.
    """

    def __init__(self, method: CP, images: ResidentImages, noise: Tensor, context: Context, labels: Tensor):
        super().__init__(method, images, noise, context)
        self.labels = labels

    def of(self, index: Index) -> Tensor:
        return self.noise[self.labels[index]]

    def improve(self, index: Tensor) -> None:
        # A matrix product, because gradients of indexing are not repeatable on accelerators.
        shares = functional.one_hot(self.labels[index], len(self.noise)).to(self.noise.dtype)
        self.noise.copy_(self.walked(self.noise, index, shares))


class ImageSearch(Search):
    """One noise per image."""

    def of(self, index: Index) -> Tensor:
        return self.noise[index].to(self.images.device)

    def improve(self, index: Tensor) -> None:
        self.noise[index] = self.walked(self.of(index), index).to(self.noise.device)
