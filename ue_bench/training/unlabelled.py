"""Trains victims without labels: pretraining on what was published, then a linear probe on clean labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.contracts.defense import Defense
from ue_bench.data.imageset import ImageSet
from ue_bench.measures import measure_more
from ue_bench.probes import logistic
from ue_bench.progress import Progress
from ue_bench.training.batches import Batches, plain_batches
from ue_bench.training.epochs import resuming, run_epochs, set_learning_rate, training_step
from ue_bench.training.optim import learning_rate, make_optimizer
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import AT_ONCE, Curves, accuracy, logits_of

PASSES = 100  # of L-BFGS over the features of the clean images; ours


@dataclass
class ProbeCurves(Curves):
    """Curves of a training without labels; accuracies are those of a linear probe, fitted anew after every epoch.

    ``train_accuracy`` is the probe's on the clean images that it was fitted to, and the loss that of the pretraining.
    """

    untrained_accuracy: list[float] = field(default_factory=list)  # a probe's, before the first epoch

    def metrics(self) -> dict[str, float]:
        """As for classifiers, and what a probe of random features reaches: protection cannot go below it."""
        return {**super().metrics(), "untrained_accuracy": self.untrained_accuracy[0]}


def train_without_labels(
    model: Any,
    data: ImageSet,
    recipe: Recipe,
    *,
    device: torch.device,
    seed: int,
    test: ImageSet,
    clean: ImageSet,
    clock: Clock | None = None,
    defense: Defense | None = None,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> ProbeCurves:
    """Trains ``model`` in place on the images of ``data``, and measures linear probes of its features, in float32.

    Args:
        model: as ``Victim.learns`` says for ``views``.
        data: the training set as published: 8-bit, noise included; its labels are not read.
        test: clean test images.
        clean: the training images before protection, with their labels, which the probe is fitted to.
        defense: changes images only, once.

    The other arguments are those of ``ue_bench.training.supervised.train``.

    Raises:
        TrainingError: if the loss is no longer finite.
    """
    clock, progress, curves = clock or Clock(device), progress or Progress(), ProbeCurves()
    with clock.phase("warmup"):
        model = model.to(device).to(memory_format=torch.channels_last)
        model.compute_in(recipe.bf16)
        optimizer = make_optimizer(model.parameters(), recipe)
    with clock.phase("train"):
        images = (defense or Defense()).images_once(data.images)
        batches = Batches(images, recipe.batch_size, recipe.crop_padding, recipe.flip, device, seed)
    resumable = resuming(checkpoints, progress, batches, model=model, optimizer=optimizer)

    def one(epoch: int) -> tuple[float, float]:
        model.train()
        order, steps = batches.shuffle(), len(batches)
        total = torch.zeros((), device=device)
        for step in resumable(range(steps), "step", bar=False, total=total):
            set_learning_rate(optimizer, learning_rate(recipe, epoch, step, steps))
            loss = model.objective(batches.take(order[step]), batches.generator)
            training_step(model, optimizer, loss, recipe.gradient_clip)
            model.stepped()
            total += loss.detach()
        return float(total) / steps, 0.0  # the probe's accuracy takes the place of the 0

    def probe() -> tuple[float, Tensor, Tensor]:
        right = fit_probe(model, clean, device)
        assert test.labels is not None
        return right, logits_of(model, test, device), test.labels.to(device)

    def measure() -> None:
        right, logits, labels = probe()
        curves.train_accuracy[-1] = right
        curves.test_accuracy.append(accuracy(logits, labels))
        for name, value in measure_more("supervised", logits, labels).items():
            curves.more.setdefault(name, []).append(value)

    with clock.phase("evaluate"):
        _, logits, labels = probe()
        curves.untrained_accuracy.append(accuracy(logits, labels))
    run_epochs(
        resumable(range(recipe.epochs), "epoch", curves=vars(curves)), recipe, curves, one, measure, clock
    )
    return curves


@torch.no_grad()
def fit_probe(model: Any, clean: ImageSet, device: torch.device) -> float:
    """Fits ``model.classifier`` to clean images and their labels; returns its accuracy on them in percent.

    The features are those of evaluation mode and stay as they are.
    """
    assert clean.labels is not None
    model.eval()
    features = torch.cat(
        [model.features(images).to(torch.float32) for images in plain_batches(clean.images, AT_ONCE, device)]
    )
    labels = clean.labels.to(device)
    with torch.enable_grad():
        weights = logistic(features, labels, clean.classes, PASSES)
    model.classifier.weight.copy_(weights[:-1].T)
    model.classifier.bias.copy_(weights[-1])
    return accuracy(model.classifier(features), labels)
