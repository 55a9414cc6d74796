"""The contrastive trainer: one loop for CLIP victims and surrogates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.contracts.defense import Defense
from ue_bench.data.imageset import ImageSet
from ue_bench.measures import measure_more
from ue_bench.progress import Progress
from ue_bench.retrieval import retrieval
from ue_bench.training.arithmetic import autocast
from ue_bench.training.batches import plain_batches
from ue_bench.training.epochs import resuming, run_epochs, set_learning_rate, training_step
from ue_bench.training.optim import contrastive_learning_rate, make_contrastive_optimizer
from ue_bench.training.pairs import PairBatches, Pairs
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.training.towers import Towers, contrastive_loss, trim

MEAN_EPOCHS = 5  # single epochs of protected victims differ by half their median rank
CHUNK = 250  # images or captions encoded at once


@dataclass
class ContrastiveCurves:
    """What was measured during a training run.

    Attributes:
        train_loss: one number per epoch.
        train_accuracy: percent of a batch's images whose own caption fits best, while the weights still change.
        retrieval: metric -> values on test data; first the untrained victim's, then one per epoch.
        collapsed: whether features were not finite or all one point, measured as often as ``retrieval``.
    """

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    retrieval: dict[str, list[float]] = field(default_factory=dict)
    collapsed: list[bool] = field(default_factory=list)

    def add(self, found: dict[str, float | bool]) -> None:
        """Appends what ``Gallery.search`` found."""
        self.collapsed.append(bool(found["collapsed"]))
        for name, value in found.items():
            if name != "collapsed":
                self.retrieval.setdefault(name, []).append(float(value))

    def metrics(self) -> dict[str, Any]:
        """The metrics of the last epoch, of the best epoch, and the mean of the last five epochs.

        The last epoch is the headline. ``best`` is the epoch, counted from 1, with the largest sum of both Hit@10,
        because a hacker may stop early. ``mean5`` is the mean. The untrained victim's values are left out.
        """
        trained = {name: values[1:] for name, values in self.retrieval.items()}
        sums = [i + t for i, t in zip(trained["i2t_hit@10"], trained["t2i_hit@10"], strict=True)]
        best = sums.index(max(sums))
        last = {name: values[-MEAN_EPOCHS:] for name, values in trained.items()}
        return {
            **{name: values[-1] for name, values in trained.items()},
            "best": {**{name: values[best] for name, values in trained.items()}, "epoch": best + 1},
            "mean5": {name: sum(values) / len(values) for name, values in last.items()},
            "train_accuracy_last": self.train_accuracy[-1],
        }


def train_contrastive(
    towers: Towers,
    pairs: Pairs,
    recipe: ContrastiveRecipe,
    *,
    device: torch.device,
    seed: int,
    clock: Clock | None = None,
    test: ImageSet | None = None,
    defense: Defense | None = None,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> ContrastiveCurves:
    """Trains ``towers`` in place on ``pairs`` and measures retrieval on ``test`` before and after every epoch.

    Args:
        towers: a contrastive victim.
        pairs: the training set as published: 8-bit, noise and triggers included.
        test: clean test images with captions; None for surrogates.
        defense: the hacker's defense, or None.
        seed: for the order of the pairs and the defense.
        clock: times the phases ``warmup``, ``train`` and ``evaluate``; or None.
        checkpoints: where the training's state is kept from time to time; or None.

    Raises:
        TrainingError: if the loss is no longer finite.
    """
    clock, progress, curves = clock or Clock(device), progress or Progress(), ContrastiveCurves()
    with clock.phase("warmup"):
        towers = towers.to(device).to(memory_format=torch.channels_last)
        optimizer = make_contrastive_optimizer(towers, recipe)
    with clock.phase("train"):
        batches = PairBatches(pairs, towers, recipe.batch_size, device, seed, defense)
    if test is not None:
        with clock.phase("evaluate"):
            gallery = Gallery(test, towers)
            curves.add(gallery.search(towers, device))

    clock.images["train"] = recipe.epochs * len(batches) * batches.batch_size
    clock.images["evaluate"] = (recipe.epochs + 1) * len(test) if test is not None else 0
    resumable = resuming(checkpoints, progress, batches, model=towers, optimizer=optimizer)

    def one(epoch: int) -> tuple[float, float]:
        return _epoch(towers, batches, optimizer, recipe, epoch, defense, resumable)

    def measure() -> None:
        curves.add(gallery.search(towers, device))

    epochs = resumable(range(recipe.epochs), "epoch", curves=vars(curves))
    run_epochs(epochs, recipe, curves, one, measure if test is not None else None, clock)
    return curves


class Gallery:
    """Test images, and test captions that are turned into token ids once."""

    def __init__(self, test: ImageSet, towers: Towers):
        self.pairs = Pairs.of(test)
        self.tokens = towers.tokenize(self.pairs.captions)

    @torch.no_grad()
    def search(self, towers: Towers, device: torch.device) -> dict[str, float | bool]:
        """What ``ue_bench.retrieval.retrieval`` and further declared metrics find, in evaluation mode and float32."""
        towers.eval()
        images = [towers.encode_image(batch) for batch in plain_batches(self.pairs.images, CHUNK, device)]
        texts = [towers.encode_text(trim(tokens).to(device)) for tokens in self.tokens.split(CHUNK)]
        seen = torch.cat(images), torch.cat(texts), self.pairs.image_of_pair.to(device)
        return {**retrieval(*seen), **measure_more("contrastive", *seen)}


def _epoch(towers, batches, optimizer, recipe, epoch, defense, resumable) -> tuple[float, float]:
    """One pass over the pairs: (mean loss, percent of images that find their caption in the batch)."""
    towers.train()
    device, steps = batches.device, len(batches)
    total, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    order = batches.shuffle()
    for step in resumable(range(steps), "step", bar=False, total=total, correct=correct):
        images, tokens = batches.take(order[step])
        set_learning_rate(optimizer, contrastive_learning_rate(recipe, epoch, step, steps))
        if defense is not None and type(defense).attack_pairs is not Defense.attack_pairs:
            images = defense.attack_pairs(
                _loss_of_images(towers, tokens, recipe.bf16), images, batches.generator
            )
            towers.train()
        with autocast(device, recipe.bf16):
            seen, read = towers.encode_image(images), towers.encode_text(tokens)
        loss = contrastive_loss(seen, read, towers.scale)
        training_step(towers, optimizer, loss, recipe.gradient_clip)
        with torch.no_grad():
            towers.clip.logit_scale.clamp_(0, math.log(recipe.max_scale))
            own = torch.arange(len(images), device=device)
            correct += ((seen @ read.T).argmax(1) == own).float().mean()
        total += loss.detach()
    return float(total) / steps, 100 * float(correct) / steps


def _loss_of_images(towers: Towers, tokens: Tensor, bf16: bool) -> Callable[[Tensor], Tensor]:
    """A function images -> the batch's loss, in evaluation mode, so that an attack changes no batch statistics."""
    towers.eval()
    with torch.no_grad(), autocast(tokens.device, bf16):
        read = towers.encode_text(tokens)
        scale = towers.scale

    def loss(images: Tensor) -> Tensor:
        with autocast(tokens.device, bf16):
            return contrastive_loss(towers.encode_image(images), read, scale)

    return loss
