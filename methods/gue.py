"""Game unlearnable examples: a network that makes noise plays against a classifier that is to fail on clean images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

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
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.orders import in_order
from ue_bench.crafting.resident import ResidentImages
from ue_bench.crafting.surrogates import sgd
from ue_bench.crafting.whole_noise import new_noise
from ue_bench.errors import ConfigError, TrainingError
from ue_bench.seeds import derive

from ._gue.game import Game
from ._gue.unet import seeded_unet


@dataclass(frozen=True)
class GUE(Method):
    """GUE, game unlearnable examples (Liu, Wang, Gao, AAAI 2024), written from a sheet on paper and code.

    A bilevel problem: a classifier's weights are to be the best ones for noisy images, and yet to give clean images to
    the wrong classes. A U-Net makes each image's noise from the image alone. Batch by batch a copy of the classifier
    takes a few steps on the noisy images; the gap between both losses is pressed to zero by a first-order multiplier.

    The authors keep the noise network of the epoch whose victim is worst on the test set; here the last one is kept,
    and no test image is seen. The network then runs in evaluation mode, so that noise depends on its image alone. Their
    variant against adversarial training is not here.
    """

    budget: Annotated[Budget, Norms("linf")] = Budget("linf", 8)  # steps of 1/255; paper
    granularity: str = "image"  # each image has its own noise
    surrogate: str = "resnet18"  # a victim, the classifier of the game, from scratch; paper
    surrogate_start: Literal["pytorch", "torchvision", "own"] = (
        "pytorch"  # first weights; ours, the papers say nothing
    )
    width: Count = 64  # channels of the U-Net's first level; code
    epochs: Count = 50  # code
    batch_size: Count = 256  # images, shuffled; code
    learning_rate: Positive = 0.01  # of the classifier, SGD; code
    noise_learning_rate: Positive = 0.1  # of the U-Net, SGD; code
    momentum: NotNegative = 0.0  # of both; code
    inner_steps: Count = 10  # Adam's, of the classifier's copy in every batch; code
    inner_learning_rate: Positive = 1e-4  # of these; code
    eta: Positive = 1.5  # how fast the gap closes; code

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = "50 epochs of 13 forward and backward passes of a classifier and 1 of a U-Net"
    published_names: ClassVar[tuple[str, ...]] = ("GUE",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"surrogate": "resnet_tiny", "width": 4, "epochs": 2, "batch_size": 8, "inner_steps": 2},
        # Fewer steps of the copy, each larger.
        "laptop": {
            "surrogate": "resnet_tiny",
            "width": 16,
            "epochs": 15,
            "batch_size": 64,
            "inner_steps": 5,
            "inner_learning_rate": 1e-3,
        },
        "quick": {
            "surrogate": "resnet_tiny",
            "width": 8,
            "epochs": 8,
            "batch_size": 64,
            "inner_steps": 5,
            "inner_learning_rate": 1e-3,
        },
    }

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        if view.classes < 2:
            raise ConfigError("gue needs at least two classes: clean images are to be given to wrong ones")
        images, labels = ResidentImages(view.images, context.device), view.labels.to(context.device)
        classifier = context.surrogate(
            self.surrogate, view.classes, view.image_size, start=self.surrogate_start
        ).train()
        noise = seeded_unet(self.width, derive(context.seed, "noise network"), context.device)
        game = Game(
            noise,
            classifier,
            sgd(noise, self.noise_learning_rate, self.momentum, 0.0),
            sgd(classifier, self.learning_rate, self.momentum, 0.0),
            self.budget.radius / 255,
            self.eta,
            self.inner_steps,
            self.inner_learning_rate,
        )
        self._play(game, images, labels, context)
        return self._made(game, images, labels, view, context)

    def _play(self, game: Game, images: ResidentImages, labels: torch.Tensor, context: Context) -> None:
        """All epochs; the means of each epoch's steps go to ``context.notes``."""
        means: dict[str, list[float]] = {}
        parts: dict[str, Any] = {
            "noise_network": game.noise,
            "classifier": game.classifier,
            "noise_optimizer": game.noise_optimizer,
            "optimizer": game.optimizer,
            "means": means,
        }
        for epoch in context.resumable(range(self.epochs), "epoch", **parts):
            order = torch.randperm(len(images), generator=context.generator)
            batches = in_order(len(images), self.batch_size)
            sums: dict[str, float] = {}
            for batch in context.resumable(batches, "batch", order=order, sums=sums, **parts):
                index = order[batch]
                for name, value in game.step(images.take(index), labels[index]).items():
                    sums[name] = sums.get(name, 0.0) + value
            for name, value in sums.items():
                means.setdefault(name, []).append(value / len(batches))
            if not all(abs(values[-1]) < float("inf") for values in means.values()):
                raise TrainingError(
                    f"gue's game diverged in epoch {epoch + 1}: lower gue.learning_rate (now {self.learning_rate:g}) "
                    f"or gue.noise_learning_rate (now {self.noise_learning_rate:g})"
                )
        context.notes |= {f"{name}_by_epoch": values for name, values in means.items()}

    @torch.no_grad()
    def _made(
        self, game: Game, images: ResidentImages, labels: torch.Tensor, view: ProtectorView, context: Context
    ) -> Perturbation:
        """The last network's noise, and how the classifier does on images without and with it."""
        game.noise.eval()
        game.classifier.eval()
        noise = new_noise(len(images), images.size, self.budget.most_steps)
        right = torch.zeros(2, dtype=torch.int64)
        for index in in_order(len(images), self.batch_size):
            clean = images.take(index)
            steps = quantise(game.radius * game.noise(clean), self.budget)
            noise[index] = steps
            shown = (clean + steps.to(clean.device) / 255).clamp_(0, 1)
            for row, pictures in enumerate((clean, shown)):
                right[row] += (game.classifier(pictures).argmax(1) == labels[index]).sum().cpu()
        accuracies = (100 * right / len(images)).tolist()
        context.notes |= {
            "surrogate_clean_accuracy_percent": accuracies[0],
            "surrogate_accuracy_percent": accuracies[1],
        }
        return Perturbation(noise, view.rows(self.granularity), self.budget)
