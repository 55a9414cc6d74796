"""The supervised trainer: one loop for victims and surrogates."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.contracts.defense import Defense
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import TrainingError
from ue_bench.measures import measure_more
from ue_bench.progress import Progress
from ue_bench.seeds import derive
from ue_bench.training.arithmetic import autocast, captures
from ue_bench.training.batches import Batches, plain_batches, resident
from ue_bench.training.epochs import resuming, run_epochs, set_learning_rate, training_step
from ue_bench.training.graphs import Captured
from ue_bench.training.optim import learning_rate, make_optimizer
from ue_bench.training.recipe import Recipe

AT_ONCE = 1000  # test images


@dataclass
class Curves:
    """What was measured during a training run, with one number per epoch.

    Accuracies are in percent. Training accuracy is measured on augmented batches while the weights still change.
    """

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)  # of images that choose the epoch
    more: dict[str, list[float]] = field(default_factory=dict)  # by name, see ``ue_bench.measures``

    def metrics(self) -> dict[str, float]:
        """Metrics of the last epoch, which is the headline, and of the best one, because a hacker may stop early.

        Epochs are counted from 1. A hacker who holds images out stops at the epoch that is best on them, which is then
        the last one here (``stopped_epoch``).
        """
        best, end = max(self.test_accuracy), -1
        stopped: dict[str, float] = {}
        if self.validation_accuracy:
            end = self.validation_accuracy.index(max(self.validation_accuracy))
            stopped = {"stopped_epoch": end + 1}
        return {
            "accuracy_last": self.test_accuracy[end],
            "accuracy_best": best,
            "accuracy_best_epoch": self.test_accuracy.index(best) + 1,
            "train_accuracy_last": self.train_accuracy[end],
            **stopped,
            **{name: values[end] for name, values in self.more.items()},
        }


def train(
    model: nn.Module,
    data: ImageSet,
    recipe: Recipe,
    *,
    device: torch.device,
    seed: int,
    clock: Clock | None = None,
    test: ImageSet | None = None,
    validation: ImageSet | None = None,
    clean: ImageSet | None = None,
    defense: Defense | None = None,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> Curves:
    """Trains ``model`` in place on ``data`` and measures it on ``test`` after every epoch.

    Args:
        model: float [B, 3, H, W] in [0, 1] -> logits [B, classes].
        data: the training set as published: 8-bit, noise included.
        test: clean test images; None for surrogates.
        validation: images by which the hacker chooses the epoch, clean or as published; or None.
        clean: clean images of the hacker's, from which the defense learns; or None.
        defense: the hacker's defense, or None.
        seed: for order, crops, flips and the defense.
        clock: times the phases ``warmup`` (what only the first training of a process costs), ``fit`` (what a defense
            learns before training), ``train`` and ``evaluate``; or None.
        checkpoints: where the training's state is kept from time to time; or None.

    Raises:
        TrainingError: if the loss is no longer finite.
    """
    clock, progress, curves = clock or Clock(device), progress or Progress(), Curves()
    if data.labels is None:
        raise TrainingError("supervised training needs labels, and this dataset has none")
    hacker = defense or Defense()
    recorded = captures(device) and hacker.leaves_steps_alone
    with clock.phase("warmup"):
        model = model.to(device).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(model.parameters(), recipe, recorded)
    with clock.phase("fit" if hacker.fits else "train"):
        generator = torch.Generator(device).manual_seed(derive(seed, "fit"))
        known = data.images[:0] if clean is None else clean.images
        images = hacker.fit_with_clean(data.images, data.labels, known, generator)
    with clock.phase("train"):
        batches = Batches(images, recipe.batch_size, recipe.crop_padding, recipe.flip, device, seed)
        targets = functional.one_hot(data.labels, data.classes).to(device, torch.float32)
        test, validation = (seen and resident(seen, device) for seen in (test, validation))
    clock.images["train"] = recipe.epochs * len(batches) * batches.batch_size
    clock.images["evaluate"] = recipe.epochs * sum(
        len(seen) for seen in (test, validation) if seen is not None
    )

    step = _Step(model, batches, targets, optimizer, recipe)
    replayed = Captured(functools.partial(step, hacker), [batches.generator], clock) if recorded else None
    if recipe.compile:
        clock.add_flop("train", None)  # what is compiled does not count its operations
    resumable = resuming(checkpoints, progress, batches, model=model, optimizer=optimizer)

    def one(epoch: int) -> tuple[float, float]:
        take = replayed or functools.partial(step, hacker.in_epoch(epoch, recipe.epochs))
        return _epoch(model, batches, optimizer, recipe, epoch, step, take, resumable)

    def measure() -> None:
        assert test is not None and test.labels is not None
        logits, labels = logits_of(model, test, device, recipe.bf16), test.labels.to(device)
        curves.test_accuracy.append(accuracy(logits, labels))
        if validation is not None and validation.labels is not None:
            known = logits_of(model, validation, device, recipe.bf16)
            curves.validation_accuracy.append(accuracy(known, validation.labels.to(device)))
        for name, value in measure_more("supervised", logits, labels).items():
            curves.more.setdefault(name, []).append(value)

    epochs = resumable(range(recipe.epochs), "epoch", curves=vars(curves))
    run_epochs(epochs, recipe, curves, one, measure if test is not None else None, clock)
    return curves


class _Compiled(nn.Module):
    """A model whose passes are compiled; its weights and its mode are the model's own."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self._compiled = model, torch.compile(model.forward)

    def forward(self, images: Tensor) -> Tensor:
        return self._compiled(images)


class _Step:
    """One step of training. Whatever it changes stays at its place in memory, so that it can be recorded.

    Attributes:
        total, correct: float32 scalars on the device: sums over steps of the loss and of the share of a batch, as
            trained on, that is classified right.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        targets: Tensor,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
    ):
        self.model, self.batches, self.targets = model, batches, targets
        self.optimizer, self.recipe = optimizer, recipe
        self.forward = _Compiled(model) if recipe.compile else model
        self.cost = functools.partial(functional.cross_entropy, label_smoothing=recipe.label_smoothing)
        self.total, self.correct = (torch.zeros((), device=batches.device) for _ in range(2))

    def __call__(self, defense: Defense, index: Tensor) -> None:
        """Takes the step with the images at ``index``, int64 [B] on the device."""
        images, goal, draws = self.batches.take(index), self.targets[index], self.batches.generator
        with autocast(self.batches.device, self.recipe.bf16):
            images, goal = defense.batch(images, goal, draws)
            images = defense.attack(self.forward, images, goal, draws)
            loss, logits = defense.loss(self.forward, images, goal, self.cost, draws)
        training_step(self.model, self.optimizer, loss, self.recipe.gradient_clip)
        self.total += loss.detach()
        self.correct += (logits.detach().argmax(1) == goal.argmax(1)).float().mean()


def _epoch(model, batches, optimizer, recipe, epoch, step, take, resumable) -> tuple[float, float]:
    """One pass over the data: (mean loss, accuracy in percent on the batches as trained on)."""
    model.train()
    steps, order = len(batches), batches.shuffle()
    sums = {"total": step.total.zero_(), "correct": step.correct.zero_()}
    for number in resumable(range(steps), "step", bar=False, **sums):
        set_learning_rate(optimizer, learning_rate(recipe, epoch, number, steps))
        take(order[number])
    return float(step.total) / steps, 100 * float(step.correct) / steps


@torch.no_grad()
def logits_of(model: nn.Module, data: ImageSet, device: torch.device, bf16: bool = False) -> Tensor:
    """float [N, classes] on the device: the logits of ``data``, without augmentation, in evaluation mode."""
    model.eval()
    found = []
    for images in plain_batches(data.images, AT_ONCE, device):
        with autocast(device, bf16):
            found.append(model(images))
    return torch.cat(found)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent."""
    return 100 * int((logits.argmax(1) == labels).sum()) / len(labels)
