"""Unlearnable clusters: one noise for each cluster of images, made without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    NotNegative,
    Perturbation,
    Positive,
    PositiveShare,
    ProtectorView,
    Range,
    Recipe,
)
from ue_bench.crafting.orders import Endless, in_order, shuffled
from ue_bench.crafting.resident import ResidentImages
from ue_bench.errors import ConfigError, TrainingError

from ._uc.clusters import Clusters, kmeans, nearest
from ._uc.crops import shaken
from ._uc.features import Features, loaded, old_timm, source, trained_on_rotations
from ._uc.generator import NoiseGenerator, seeded_generator

LABELS_HINT = "no surrogate learns from the protector's labels here, because UC is meant to work without them"


@dataclass(frozen=True)
class UC(Method):
    """UC, unlearnable clusters (Zhang et al., CVPR 2023), written from a specification of paper and code.

    K-means groups the images by a surrogate's features. For each cluster a generator with a fixed random input
    learns one noise that moves features to the centre of the next cluster (in a ring). Its loss is the Kullback-Leibler
    divergence from the softmax of that centre to the softmax of the features. Labels are never read, so the
    surrogate is one of

    - ``timm:NAME``: published ImageNet weights (paper: ResNet-50), by download or from ``checkpoint``;
    - ``clip:NAME:WEIGHTS``: CLIP's image encoder (paper: ``clip:RN50:openai``; OpenAI's own file as
      ``checkpoint`` belongs to ``clip:RN50-quickgelu``);
    - ``rotation:VICTIM``: a victim's architecture, trained here to predict how each image was rotated. Ours,
      for machines without weights; it needs images only, as UC demands. The papers do not have it.

    Differences from the paper: noise has the benchmark's image size, and is resized with the image to the size that a
    loaded surrogate sees; clusters and centres come from whole images instead of centre crops. The paper trains a
    cluster's generator on the cluster, the authors' code on all images (``official_all_images``, which multiplies the
    cost by the number of clusters), in the data's own order (``official_order``). That code clamps the generator's
    output at the radius, where it has no gradient, and so does the default here: ``scaled_tanh`` scales it instead.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 16)  # steps of 1/255; authors' configurations
    granularity: str = "cluster"  # one noise for each cluster of images
    surrogate: str = "timm:resnet50.tv_in1k"  # paper; or clip:RN50:openai (paper), or rotation:VICTIM (ours)
    checkpoint: str = ""  # local file with a loaded surrogate's weights; "": they are downloaded
    surrogate_size: Count = 224  # pixels that a loaded surrogate sees (code). rotation: the images' own
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # rotation only: first weights; ours
    )
    surrogate_epochs: Count = 60  # rotation only: training epochs; ours
    surrogate_batch_size: Count = 128  # rotation only: images; ours
    clusters: Annotated[int, Range(2)] = 10  # authors' configurations
    kmeans_starts: Count = 10  # seeded starts of which the best is kept; scikit-learn's default of that time
    filters: Count = 64  # generator: filters of its first convolution; authors' code
    blocks: Count = 6  # generator: residual blocks; authors' code
    epochs: Count = 50  # of each generator, over its images; authors' code
    max_steps: Count = 20000  # of each generator, our cap; reaching it is reported
    batch_size: Count = 256  # images; authors' code
    learning_rate: Positive = 1e-4  # Adam; authors' code
    final_learning_rate: NotNegative = 1e-6  # end of the cosine, which falls each step; authors' code
    weight_decay: float = 5e-4  # Adam; authors' code
    crop_share: PositiveShare = 0.875  # side of a random crop, 224 of 256; code. 1: none
    flip: bool = True  # mirror half of the images; authors' code
    scaled_tanh: bool = False  # radius x tanh instead of tanh clamped at the radius; ours
    official_all_images: bool = False  # each generator learns from all images, as in the authors' code
    official_order: bool = False  # batches in the data's own order, not shuffled, as in the authors' code
    bf16: bool = True  # surrogate, where the device gains by it; False: float32, as the authors' code

    access: ClassVar[Access] = Access.IMAGES
    files: ClassVar[frozenset[str]] = frozenset({"checkpoint"})
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
    granularities: ClassVar[tuple[str, ...]] = ("cluster",)
    cost: ClassVar[str] = "500 forward and backward passes an image at 224 pixels, with pretrained weights"
    published_names: ClassVar[tuple[str, ...]] = ("UC",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "surrogate": "rotation:resnet_tiny",
            "surrogate_epochs": 2,
            "clusters": 3,
            "kmeans_starts": 2,
            "filters": 8,
            "blocks": 1,
            "epochs": 2,
            "batch_size": 64,
            "learning_rate": 1e-3,
        },
        "laptop": {
            "surrogate": "rotation:resnet_tiny",
            "surrogate_epochs": 10,
            "surrogate_batch_size": 64,
            "filters": 16,
            "blocks": 2,
            "epochs": 20,
            "batch_size": 64,
            "learning_rate": 1e-3,
        },
        "quick": {
            "surrogate": "rotation:resnet_tiny",
            "surrogate_epochs": 4,
            "surrogate_batch_size": 64,
            "filters": 8,
            "blocks": 1,
            "epochs": 6,
            "batch_size": 64,
            "learning_rate": 1e-3,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, _ = source(self.surrogate)
        if kind == "rotation" and self.checkpoint:
            raise ConfigError(
                f"uc trains '{self.surrogate}' itself: leave checkpoint out, or say surrogate=timm:NAME; "
                f"{LABELS_HINT}"
            )
        if self.learning_rate < self.final_learning_rate:
            raise ConfigError(
                f"uc's learning_rate must be no less than final_learning_rate, not {self.learning_rate:g} and "
                f"{self.final_learning_rate:g}"
            )

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """Published weights have no start."""
        return frozenset(() if source(self.surrogate)[0] == "rotation" else {"surrogate_start"})

    def unavailable(self) -> str:
        return old_timm() if self.checkpoint and source(self.surrogate)[0] == "timm" else ""

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        model = self._surrogate(view, context)
        images = ResidentImages(view.images, context.device)
        clean = model.of(images)
        groups = kmeans(clean, self.clusters, self.kmeans_starts, context.numpy_seed())
        delta = self._learn(model, images, groups, context)
        rows = groups.members[view.image_of_example]
        noise = Perturbation.from_float(delta, rows, self.budget)
        self._report(groups, clean, model.of(images, noise.noise, groups.members), context)
        return noise

    def _surrogate(self, view: ProtectorView, context: Context) -> Features:
        kind, name = source(self.surrogate)
        if kind != "rotation":
            return loaded(self.surrogate, self.checkpoint, self.surrogate_size, self.bf16).to(context.device)
        recipe = Recipe(
            epochs=self.surrogate_epochs,
            batch_size=self.surrogate_batch_size,
            warmup_epochs=1.0,
            bf16=self.bf16,
        )
        model = trained_on_rotations(view, context, name, recipe, self.bf16, self.surrogate_start)
        return model.to(context.device)

    def _learn(self, model: Features, images: ResidentImages, groups: Clusters, context: Context) -> Tensor:
        """float32 [clusters, 3, H, W] in [0, 1] pixel units: one noise after the other."""
        goals = goals_of(groups).to(context.device)
        steps: list[int] = []
        noises: list[Tensor] = []
        for number in context.resumable(range(len(groups)), "cluster", steps=steps, noises=noises):
            members = (groups.members == number).nonzero().flatten()
            if self.official_all_images:
                members = torch.arange(len(images))
            batches = -(-len(members) // self.batch_size)
            steps.append(min(self.epochs * batches, self.max_steps))
            noises.append(self._noise(model, images, members, goals[number], steps[-1], context))
        context.notes |= {"generator_steps": steps, "reached_max_steps": self.max_steps in steps}
        if self.max_steps in steps:
            context.warn(
                f"uc stopped generators at its cap of {self.max_steps} steps, before {self.epochs} epochs"
            )
        return torch.cat(noises)

    def _noise(
        self,
        model: Features,
        images: ResidentImages,
        members: Tensor,
        goal: Tensor,
        steps: int,
        context: Context,
    ) -> Tensor:
        """float32 [1, 3, H, W]: what a fresh generator learned to add to the images at ``members``."""
        draw = context.generator
        code = torch.rand(1, 3, *images.size, generator=draw).to(context.device)
        seed = int(torch.randint(2**62, (), generator=draw))
        network = seeded_generator(self.filters, self.blocks, seed, context.device)
        optimizer = torch.optim.Adam(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, self.final_learning_rate)
        batches = self._batches(members, draw)
        parts = {"network": network, "optimizer": optimizer, "schedule": schedule, "batches": batches}
        for _ in context.resumable(range(steps), "step", **parts):
            shown = shaken(images.take(next(batches)), self.crop_share, self.flip, draw)
            loss = divergence(model((shown + self._bounded(network, code)).clamp(0, 1)), goal)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        if not bool(loss.isfinite()):
            raise TrainingError(f"uc's generator diverged: lower learning_rate (now {self.learning_rate:g})")
        with torch.no_grad():
            noise = self._bounded(network, code)
        if bool(noise.mul(255).round().eq(noise[0, 0, 0, 0].mul(255).round()).all()):
            raise TrainingError(
                "uc's generator is clamped at the same value everywhere, where it has no gradient: lower "
                f"learning_rate (now {self.learning_rate:g}) or set scaled_tanh=true"
            )
        return noise

    def _bounded(self, network: NoiseGenerator, code: Tensor) -> Tensor:
        """float32 [1, 3, H, W] within the radius, in [0, 1] pixel units."""
        radius = self.budget.radius / 255
        return radius * network(code) if self.scaled_tanh else network(code).clamp(-radius, radius)

    def _batches(self, members: Tensor, draw: torch.Generator) -> Endless[Tensor]:
        """Batches of ``members`` without end; the last, smaller batch of each epoch is kept."""

        def epoch() -> Iterator[Tensor]:
            order = members
            if not self.official_order:
                (order,) = shuffled(members, len(members), draw)
            for part in in_order(len(order), self.batch_size):
                yield order[part]

        return Endless(epoch, draw)

    def _report(self, groups: Clusters, clean: Tensor, moved: Tensor, context: Context) -> None:
        """Reports in the record how many published images reached their goal, and how near they came."""
        wanted = (groups.members + 1) % len(groups)
        goals = goals_of(groups)[groups.members]
        reached = float((nearest(moved, groups.centres) == wanted).float().mean())
        before = float((nearest(clean, groups.centres) == wanted).float().mean())
        context.notes |= {
            "surrogate": self.surrogate + (f" ({self.checkpoint})" if self.checkpoint else ""),
            "cluster_sizes": groups.members.bincount().tolist(),
            "kmeans_iterations": groups.iterations,
            "divergence_before": float(divergence(clean, goals)),
            "divergence_after": float(divergence(moved, goals)),
            "nearest_to_target_percent_before": 100 * before,
            "nearest_to_target_percent": 100 * reached,
        }
        if len(groups) < self.clusters:
            context.warn(f"uc found {len(groups)} different clusters, not {self.clusters}")


def goals_of(groups: Clusters) -> Tensor:
    """float32 [K, D]: for each cluster the softmax of the centre of the next one in the ring."""
    return groups.centres.roll(-1, dims=0).softmax(dim=1)


def divergence(features: Tensor, goals: Tensor) -> Tensor:
    """float32 scalar: the mean over images of KL(goal || softmax(features)).

    Args:
        features: float32 [B, D].
        goals: float32 [B, D] or [D]; each row sums to 1.
    """
    guesses = features.log_softmax(dim=1)
    return functional.kl_div(guesses, goals.expand_as(guesses), reduction="batchmean")
