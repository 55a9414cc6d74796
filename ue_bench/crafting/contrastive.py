"""Contrastive surrogates: networks that learn, without labels, that two views show one image.

Each maps two views, float [B, 3, H, W], to a scalar loss. For training, target branches get no gradient; for
noise, ``both_branches`` lets the pixels' gradient through them too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.contracts.context import Context
from ue_bench.crafting.views import Augmentation, view
from ue_bench.errors import ConfigError, unknown
from ue_bench.seeds import derive
from ue_bench.training.arithmetic import autocast
from ue_bench.training.epochs import training_step

FRAMEWORKS = ("simclr", "simsiam", "moco", "byol")


def nt_xent(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss: each view has to find its partner among all other views of the batch.

    Args:
        one, two: float [B, D], rows of length 1; equal rows belong together.

    Returns:
        The mean over 2B views; ``log(2B - 1)`` if all views are alike.
    """
    views, count = torch.cat([one, two]), len(one)
    likeness = views @ views.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=views.device), -torch.inf)
    partners = torch.arange(2 * count, device=views.device).roll(count)
    return functional.cross_entropy(likeness, partners)


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo's loss: each query has to find its key among the queue's; float [B, D], [B, D], [K, D], mean over B."""
    right = (queries * keys).sum(dim=1, keepdim=True)
    likeness = torch.cat([right, queries @ queue.T], dim=1) / temperature
    return functional.cross_entropy(likeness, likeness.new_zeros(len(queries), dtype=torch.int64))


def negative_cosine(predicted: Tensor, wanted: Tensor) -> Tensor:
    """BYOL's and SimSiam's loss, -1 (the same direction) to 1; float [B, D], mean over B."""
    return -functional.cosine_similarity(predicted, wanted, dim=1).mean()


def head(features: int, hidden: int, out: int, *, norm: bool, bias: bool = True) -> nn.Sequential:
    """Two linear layers with a ReLU between them; ``norm`` puts batch normalisation before the ReLU."""
    middle = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(nn.Linear(features, hidden, bias=bias), *middle, nn.ReLU(), nn.Linear(hidden, out))


class ContrastiveModel(nn.Module):
    """An encoder and a loss over two views."""

    position = 0  # in what it remembers

    def loss(self, one: Tensor, two: Tensor, *, both_branches: bool = False) -> Tensor:
        """Scalar, the mean over the images."""
        raise NotImplementedError

    def follow(self) -> None:
        """Updates the momentum encoder before a training step. Does nothing in models without one."""

    def remember(self) -> None:
        """Keeps what later losses need from the last batch, such as MoCo's keys. Most models keep nothing."""


class SimCLR(ContrastiveModel):
    """SimCLR (Chen et al., ICML 2020).

    Args:
        encoder: images -> [B, D].
        scale: factor on the loss; SupCon's convention is temperature / 0.07.
    """

    def __init__(self, encoder: nn.Module, temperature: float, scale: float = 1.0):
        super().__init__()
        self.encoder, self.temperature, self.scale = encoder, temperature, scale

    def loss(self, one: Tensor, two: Tensor, *, both_branches: bool = False) -> Tensor:
        codes = functional.normalize(self.encoder(torch.cat([one, two])), dim=1)
        return self.scale * nt_xent(codes[: len(one)], codes[len(one) :], self.temperature)


class SimSiam(ContrastiveModel):
    """SimSiam (Chen and He, CVPR 2021); the encoder has two projection layers, as in its CIFAR experiments."""

    def __init__(self, encoder: nn.Module, predictor: nn.Module):
        super().__init__()
        self.encoder, self.predictor = encoder, predictor

    def loss(self, one: Tensor, two: Tensor, *, both_branches: bool = False) -> Tensor:
        codes = self.encoder(one), self.encoder(two)
        guesses = [self.predictor(code) for code in codes]
        if not both_branches:
            codes = codes[0].detach(), codes[1].detach()
        return (negative_cosine(guesses[0], codes[1]) + negative_cosine(guesses[1], codes[0])) / 2


class Follower(ContrastiveModel):
    """A model with a momentum encoder: its weights are a moving average of the encoder's.

    Args:
        momentum: share of its old value that a weight of the momentum encoder keeps in each step.
    """

    def __init__(self, encoder: nn.Module, momentum: float):
        super().__init__()
        self.encoder, self.momentum = encoder, momentum
        self.target = copy.deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        for own, other in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            own.lerp_(other, 1 - self.momentum)

    def targets(self, images: Tensor, both_branches: bool) -> Tensor:
        """float32 [B, D]: the momentum encoder's output."""
        with torch.set_grad_enabled(both_branches):
            return self.target(images)


class MoCo(Follower):
    """MoCo v2 (Chen et al., 2020), asymmetric: first views are queries; second views and a queue are the keys.

    Batch normalisation sees whole batches. They are neither shuffled nor split into eight parts, which is how
    others simulate eight devices on one.

    Args:
        queue: how many keys of earlier batches are kept; the queue starts with random directions.
        width: length of a key.
        scale: factor on the loss; SupCon's convention is temperature / 0.07.
    """

    queue: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        momentum: float,
        temperature: float,
        queue: int,
        width: int,
        scale: float = 1.0,
    ):
        super().__init__(encoder, momentum)
        self.temperature, self.scale, self.position = temperature, scale, 0
        self.register_buffer("queue", functional.normalize(torch.randn(queue, width), dim=1))
        self.last: Tensor | None = None

    def loss(self, one: Tensor, two: Tensor, *, both_branches: bool = False) -> Tensor:
        queries = functional.normalize(self.encoder(one), dim=1)
        keys = functional.normalize(self.targets(two, both_branches), dim=1)
        self.last = keys.detach()
        return self.scale * info_nce(queries, keys, self.queue, self.temperature)

    def remember(self) -> None:
        """Replaces the oldest keys of the queue, a ring buffer, with those of the last batch."""
        assert self.last is not None
        keys = self.last[-len(self.queue) :]
        places = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue = self.queue.index_copy(0, places, keys)  # a copy: gradients may still need the old one
        self.position = (self.position + len(keys)) % len(self.queue)


class BYOL(Follower):
    """BYOL (Grill et al., NeurIPS 2020): each view predicts the momentum encoder's output for the other view."""

    def __init__(self, encoder: nn.Module, predictor: nn.Module, momentum: float):
        super().__init__(encoder, momentum)
        self.predictor = predictor

    def loss(self, one: Tensor, two: Tensor, *, both_branches: bool = False) -> Tensor:
        guesses = [self.predictor(self.encoder(images)) for images in (one, two)]
        wanted = [self.targets(images, both_branches) for images in (one, two)]
        return (negative_cosine(guesses[0], wanted[1]) + negative_cosine(guesses[1], wanted[0])) / 2


class Encoder(nn.Module):
    """A backbone and a projection head: images float [B, 3, H, W] -> float32 [B, D].

    Args:
        bf16: compute in bf16 where the device gains by it.
    """

    def __init__(self, backbone: nn.Module, projection: nn.Module, bf16: bool):
        super().__init__()
        self.backbone, self.projection, self.bf16 = backbone, projection, bf16

    def forward(self, images: Tensor) -> Tensor:
        with autocast(images.device, self.bf16):
            return self.projection(self.backbone(images)).to(torch.float32)


@dataclass(frozen=True)
class Blueprint:
    """What a contrastive surrogate is built from.

    Attributes:
        framework: simclr, simsiam, moco or byol.
        surrogate: name of the backbone in the victims registry, a model of timm; its classifier is removed.
        start: how the backbone's first weights are drawn, see ``Context.surrogate``.
        temperature: of the loss; simclr and moco only.
        loss_scale: factor on the loss; simclr and moco only.
        momentum: of the momentum encoder; moco and byol only.
        queue: number of keys; moco only.
        head: simclr's and moco's projection: ``mlp``, two layers; ``normed``, with batch normalisation between them;
            ``linear``, one layer. Simsiam's and byol's is always normed.
        bf16: compute in bf16 where the device gains by it; losses stay float32.
    """

    framework: str
    surrogate: str
    start: str = "pytorch"
    temperature: float = 0.5
    loss_scale: float = 1.0
    momentum: float = 0.99
    queue: int = 4096
    head: str = "mlp"
    bf16: bool = True

    def build(self, context: Context, image_size: tuple[int, int]) -> ContrastiveModel:
        """A freshly initialised model on the context's device; its weights depend on the context's seed."""
        backbone: Any = context.surrogate(self.surrogate, 2, image_size, start=self.start)
        if not hasattr(backbone, "reset_classifier"):
            raise ConfigError(
                f"surrogate '{self.surrogate}' cannot learn contrastively: its classifier cannot be removed; "
                "take one of timm's models, such as resnet18"
            )
        backbone.reset_classifier(0)
        with torch.random.fork_rng([]):
            torch.manual_seed(derive(context.seed, "contrastive", self.framework))
            return self.complete(backbone, int(backbone.num_features)).to(context.device)

    def complete(self, backbone: nn.Module, features: int) -> ContrastiveModel:
        """The framework around a backbone that gives so many features; weights are drawn from torch's global state."""

        def encoder(hidden: int, out: int, norm: bool) -> Encoder:
            return Encoder(backbone, head(features, hidden, out, norm=norm, bias=not norm), self.bf16)

        def chosen() -> Encoder:
            if self.head == "linear":
                return Encoder(backbone, nn.Linear(features, 128), self.bf16)
            return encoder(features, 128, self.head == "normed")

        if self.framework == "simclr":
            return SimCLR(chosen(), self.temperature, self.loss_scale)
        if self.framework == "moco":
            return MoCo(chosen(), self.momentum, self.temperature, self.queue, 128, self.loss_scale)
        if self.framework == "simsiam":
            return SimSiam(encoder(2048, 2048, True), head(2048, 512, 2048, norm=True))
        if self.framework == "byol":
            return BYOL(encoder(4096, 256, True), head(256, 4096, 256, norm=True), self.momentum)
        raise unknown("framework", self.framework, FRAMEWORKS)


class Learner:
    """A contrastive model that is trained on images and computes their loss, through views that it draws itself.

    Args:
        model: on the context's device.
        context: the views depend on its seed.
        noise_augmentation: how views are drawn in noise steps; None: as in training.
        both_branches: see the module's docstring.
        moving_target: whether momentum encoders and queues are updated in noise steps, too.
        moving_queue: whether queues are, even if momentum encoders are not.
    """

    def __init__(
        self,
        model: ContrastiveModel,
        optimizer: torch.optim.Optimizer,
        context: Context,
        *,
        noise_augmentation: Augmentation | None = None,
        both_branches: bool = True,
        moving_target: bool = False,
        moving_queue: bool = False,
    ):
        self.model, self.optimizer = model, optimizer
        self.augmentation = Augmentation()
        self.noise_augmentation = noise_augmentation or self.augmentation
        self.both_branches, self.moving_target = both_branches, moving_target
        self.moving_queue = moving_queue or moving_target
        self.generator = torch.Generator(context.device).manual_seed(derive(context.seed, "views"))

    def state_dict(self) -> dict[str, Any]:
        """All that later steps depend on."""
        return {
            "model": self.model.state_dict(),
            "position": self.model.position,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` gave."""
        self.model.load_state_dict(state["model"])
        self.model.position = state["position"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())

    def learn(self, images: Tensor) -> Tensor:
        """Takes one training step on images, float [B, 3, H, W] in [0, 1], and returns its loss, a scalar."""
        self.model.train()
        self.model.follow()
        loss = self._loss(images, self.augmentation, both_branches=False)
        training_step(self.model, self.optimizer, loss, gradient_clip=0)
        self.model.remember()
        return loss.detach()

    def judge(self, images: Tensor) -> Tensor:
        """The mean loss of the images, a differentiable scalar; the model stays in the mode that it is in."""
        if self.moving_target:
            self.model.follow()
        loss = self._loss(images, self.noise_augmentation, self.both_branches)
        if self.moving_queue:
            self.model.remember()
        return loss

    @torch.no_grad()
    def compare(self, *versions: Tensor) -> list[float]:
        """The losses of several versions of the same images, all under the same views."""
        losses = []
        state = self.generator.get_state()
        for images in versions:
            self.generator.set_state(state)
            losses.append(float(self._loss(images, self.augmentation, both_branches=False)))
        return losses

    def _loss(self, images: Tensor, augmentation: Augmentation, both_branches: bool) -> Tensor:
        one, two = (view(images, augmentation, self.generator) for _ in range(2))
        return self.model.loss(one, two, both_branches=both_branches)
