"""Trains a generator so that a frozen CLIP matches images with its noise to the captions that the noise comes from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ue_bench.contracts.context import Context
from ue_bench.crafting.resident import home_for
from ue_bench.data.imageset import ImageSet
from ue_bench.data.tensors import content_hash
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.seeds import derive
from ue_bench.training.epochs import autocast
from ue_bench.training.towers import Towers, contrastive_loss

from .augmentation import augmented
from .generator import LATENT, SSAGAN, bounded, resized
from .public import text_features

BETAS = (0.0, 0.9)  # Adam's; SSA-GAN and T2UE's code
OFFICIAL_END = 1e-3  # the authors' learning rate rises to this
CLEAN_BATCHES = 10  # batches over which the loss without noise is averaged
PROBES = 8  # texts whose noises are compared to measure how much the text matters


@dataclass(frozen=True)
class Lessons:
    """How a generator is trained.

    Attributes:
        radius: linf bound of the noise, in [0, 1] pixel units.
        bound: ``scale`` or ``clamp``.
        epochs: passes over the public images; each pass draws one caption per image anew.
        batch_size: pairs; the last, smaller batch of an epoch is left out unless it is the only one.
        learning_rate: Adam's, at the start.
        weight_decay: decoupled.
        augmentation: none, flip or official.
        official_schedule: the learning rate rises to 1e-3 along half a cosine, epoch by epoch, as in T2UE's code;
            else it falls to 0 along half a cosine, step by step.
        official_best: keep the epoch of the lowest mean loss, as T2UE's code does, instead of the last.
        bf16: compute in bf16 where the device gains by it; losses stay float32.
        snapshots: epochs, counted from 1, after which the weights are kept, too.
    """

    radius: float
    bound: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    augmentation: str
    official_schedule: bool
    official_best: bool
    bf16: bool
    snapshots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        outside = [epoch for epoch in self.snapshots if not 1 <= epoch <= self.epochs]
        if outside:
            raise ConfigError(
                f"a generator's snapshots lie between 1 and {self.epochs} epochs, not at {outside[0]}"
            )

    def rate(self, epoch: int, step: int, steps: int) -> float:
        """The learning rate at ``step`` of ``steps`` of ``epoch``, both from 0."""
        if self.official_schedule:
            share = 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
            return OFFICIAL_END + (self.learning_rate - OFFICIAL_END) * share
        return (
            self.learning_rate
            * 0.5
            * (1 + math.cos(math.pi * (epoch * steps + step) / (self.epochs * steps)))
        )


class Training:
    """A generator's training: the network, its optimizer and its curves.

    All random numbers derive from the seed and the epoch's number. A training that was interrupted therefore continues
    as if it had not been: bit for bit on a CPU, and as closely as two runs agree on an accelerator.

    Args:
        network: on the context's device; the only model that is trained.
        towers: frozen, on the same device.
        public: images with captions; the surrogate sees the images, with noise, at the size that they have here.
    """

    def __init__(self, network: SSAGAN, towers: Towers, public: ImageSet, lessons: Lessons, context: Context):
        self.network, self.towers, self.lessons, self.device = network, towers, lessons, context.device
        self.context, self.seed = context, derive(context.seed, "generator training")
        assert public.captions is not None
        self.fingerprint = public.fingerprint
        counts = torch.tensor([len(texts) for texts in public.captions])
        self.counts, self.first = counts, counts.cumsum(0) - counts
        self.texts = text_features(towers, [text for texts in public.captions for text in texts])
        self.images = public.images.to(home_for(public.images.nbytes, self.device))
        self.batch_size = min(lessons.batch_size, len(public))
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lessons.learning_rate, BETAS, weight_decay=lessons.weight_decay
        )
        self.curves: dict[str, list[float]] = {"loss": [], "learning_rate": [], "text_sensitivity_steps": []}
        self.best: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}  # the snapshots' weights, by EPOCH.NAME

    @property
    def done(self) -> int:
        """Epochs."""
        return len(self.curves["loss"])

    def run(self) -> None:
        """Runs all epochs."""
        surrogate = content_hash({name: value.cpu() for name, value in self.towers.state_dict().items()})
        for _ in self.context.resumable(
            range(self.lessons.epochs), "epoch", training=self, surrogate=surrogate, public=self.fingerprint
        ):
            self.epoch()

    def epoch(self) -> None:
        """One pass over the public images."""
        number, total = self.done, torch.zeros((), device=self.device)
        draw = torch.Generator().manual_seed(derive(self.seed, "epoch", number))
        self.network.train()
        batches = list(self._batches(draw))
        self.curves["learning_rate"].append(self.lessons.rate(number, 0, len(batches)))
        for step in self.context.resumable(
            range(len(batches)), "step", training=self, draw=draw, total=total
        ):
            index, captions = batches[step]
            for group in self.optimizer.param_groups:
                group["lr"] = self.lessons.rate(number, step, len(batches))
            loss = self.loss(self._take(index, draw), self.texts[captions].to(self.device), draw)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        mean = float(total) / len(batches)
        if not math.isfinite(mean):
            raise TrainingError(
                f"the generator's loss became {mean} in epoch {number + 1}: lower learning_rate "
                f"(now {self.lessons.learning_rate:g})"
            )
        self.curves["loss"].append(mean)
        self.curves["text_sensitivity_steps"].append(self.sensitivity())
        if self.lessons.official_best and mean == min(self.curves["loss"]):
            self.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        if self.done in self.lessons.snapshots:
            weights = self.network.state_dict().items()
            self.kept |= {f"{self.done}.{name}": value.clone() for name, value in weights}

    def loss(self, images: Tensor, texts: Tensor, draw: torch.Generator) -> Tensor:
        """Scalar: the CLIP loss between images with noise and their captions.

        Args:
            images: float [B, 3, H, W] in [0, 1], on the device.
            texts: float32 [B, D], features of their captions, on the device.
            draw: generator on the CPU; draws the random vectors.
        """
        latent = torch.randn(len(images), LATENT, generator=draw).to(self.device)
        with autocast(self.device, self.lessons.bf16):
            raw = self.network(latent, texts)
        noise = resized(
            bounded(raw.to(torch.float32), self.lessons.radius, self.lessons.bound),
            (images.shape[2], images.shape[3]),
        )
        with autocast(self.device, self.lessons.bf16):
            seen = self.towers.encode_image((images + noise).clamp(0, 1))
        return contrastive_loss(seen, functional.normalize(texts, dim=1), self.towers.scale)

    @torch.no_grad()
    def loss_without_noise(self) -> float:
        """The mean loss over a few batches of the public images without noise; noise has to lower it."""
        draw = torch.Generator().manual_seed(derive(self.seed, "clean"))
        losses = []
        for index, captions in itertools.islice(self._batches(draw), CLEAN_BATCHES):
            texts = functional.normalize(self.texts[captions].to(self.device), dim=1)
            with autocast(self.device, self.lessons.bf16):
                seen = self.towers.encode_image(self._take(index, draw))
            losses.append(float(contrastive_loss(seen, texts, self.towers.scale)))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def sensitivity(self) -> float:
        """Mean |G(z, one text) - G(z, another)| in steps of 1/255, in evaluation mode; 0: the text does not matter."""
        texts = self.texts[self.first[:PROBES]].to(self.device)
        draw = torch.Generator().manual_seed(derive(self.seed, "probe"))
        latent = torch.randn(len(texts), LATENT, generator=draw).to(self.device)
        self.network.eval()
        one, two = (
            bounded(self.network(latent, text), 255 * self.lessons.radius, self.lessons.bound)
            for text in (texts, texts.roll(1, dims=0))
        )
        self.network.train()
        return float((one - two).abs().mean())

    def result(self) -> dict[str, Tensor]:
        """The trained weights and statistics, by name."""
        return self.best if self.lessons.official_best else dict(self.network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, and all that the result depends on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curves": self.curves,
            "best": self.best,
            "kept": self.kept,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the training from its ``state_dict``."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curves, self.best, self.kept = state["curves"], state["best"], state["kept"]

    def _batches(self, draw: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (indices of images, indices of captions): images in a shuffled order, each with one caption."""
        count = len(self.counts)
        order = torch.randperm(count, generator=draw)
        chosen = self.first + (torch.rand(count, generator=draw) * self.counts).long()
        for start in range(0, count // self.batch_size * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size]
            yield index, chosen[index]

    def _take(self, index: Tensor, draw: torch.Generator) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1], channels-last, on the device, augmented."""
        images = self.images[index.to(self.images.device)].to(self.device)
        images = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
        return augmented(images, self.lessons.augmentation, draw)
