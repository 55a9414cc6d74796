"""The contract of a defense: what a hacker does in order to learn from protected data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ue_bench.contracts.content import Content


@dataclass(frozen=True)
class Defense(Content):
    """Changes training data or the training step; never the test data. Override what the defense needs.

    Order in one supervised trial: ``fit_with_clean``, which by default is ``fit_once``, which by default is
    ``images_once``, on the protected set; then for every batch crop and flip, ``batch``, ``attack``, ``loss``. In a
    contrastive one: for every batch ``captions``, ``pairs``, ``attack_pairs``.

    Attributes:
        paradigms: the paradigms in which it makes sense.
        comparable_training: False if the accuracy on training batches does not show how well the model fits (mixed
            labels, attacked images, an early epoch); then no floor of the training accuracy applies.
        holds_clean: whether the hacker has clean versions of the images that are held out, and not those published.
    """

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    comparable_training: ClassVar[bool] = True
    holds_clean: ClassVar[bool] = False

    def images_once(self, images: Tensor) -> Tensor:
        """Changes the whole training set before training: uint8 [N, 3, H, W] -> the same."""
        return images

    @property
    def fits(self) -> bool:
        """Whether it learns from the training set before training; that is timed as the phase ``fit``."""
        own = type(self)
        return own.fit_once is not Defense.fit_once or own.fit_with_clean is not Defense.fit_with_clean

    @property
    def stops(self) -> bool:
        """Whether it chooses the epoch that counts by images that it does not train on."""
        return type(self).held_out is not Defense.held_out

    @property
    def leaves_steps_alone(self) -> bool:
        """Whether a step of training is the ordinary one, which can be recorded as a CUDA graph."""
        own = ("in_epoch", "batch", "attack", "loss")
        return all(getattr(type(self), name) is getattr(Defense, name) for name in own)

    def held_out(self, count: int) -> int:
        """How many of ``count`` training images are not trained on, drawn by class, to choose the epoch by; 0: none."""
        return 0

    def clean_images(self, count: int) -> int:
        """How many of ``count`` training images the hacker has clean, drawn by class, to learn from; 0: none.

        They are not trained on, and are others than those that choose the epoch. The defense's name must say that it
        needs them.
        """
        return 0

    def fit_once(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Changes the whole training set by what it learns from it, in place of ``images_once``.

        Args:
            images: uint8 [N, 3, H, W], the set as published, which is all that a defense may learn from.
            labels: int64 [N].
            generator: on the training device, where the work is to be done; seeded.

        Returns:
            uint8 [N, 3, H, W] or, where values are not whole or leave the range, float32 on the same scale (0 to 255).
        """
        return self.images_once(images)

    def fit_with_clean(
        self, images: Tensor, labels: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Tensor:
        """As ``fit_once``, for a hacker who has ``clean_images``: uint8 [M, 3, H, W], none unless the defense asks."""
        return self.fit_once(images, labels, generator)

    def in_epoch(self, epoch: int, epochs: int) -> Self:
        """The defense as it acts in an epoch of ``epochs``, counted from 0."""
        return self

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changes a batch after crop and flip.

        Args:
            images: float [B, 3, H, W] in [0, 1], on the training device.
            targets: float [B, classes], one-hot; return mixed targets where images are mixed.
            generator: on the training device, seeded.
        """
        return images, targets

    def attack(self, model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        """The images that this step trains on instead, found with the model (adversarial training).

        Arguments and result as in ``batch``; leave the model's parameters, buffers and mode as they were.
        """
        return images

    def loss(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        cross_entropy: Callable[..., Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The loss of a training step, and the logits by which training accuracy is measured, float [B, classes].

        Args:
            model: in training mode.
            images: float [B, 3, H, W] in [0, 1], on the training device, as ``attack`` returned them.
            targets: float [B, classes].
            cross_entropy: torch's, with the recipe's label smoothing: (logits, targets, reduction="mean") -> loss.
            generator: on the training device, seeded.
        """
        logits = model(images)
        return cross_entropy(logits, targets), logits

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        """Rewrites a batch's captions.

        Args:
            captions: B strings as published, a trigger's words in front; the result has as many.
            generator: on the CPU, seeded.
        """
        return captions

    def pairs(
        self, images: Tensor, captions: list[str], generator: torch.Generator
    ) -> tuple[Tensor, list[str]]:
        """Changes a batch of (image, caption) pairs, after ``captions``.

        Args:
            images: float [B, 3, H, W] in [0, 1], on the training device, noise included; the result has as many.
            captions: B strings.
            generator: on the training device, seeded.
        """
        return images, captions

    def attack_pairs(
        self, loss: Callable[[Tensor], Tensor], images: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The images that this step trains on instead, found with the model (adversarial training).

        Args:
            loss: images -> the scalar loss with this batch's captions, in evaluation mode; take its gradient by the
                images only, with ``torch.autograd.grad``.
            images: float [B, 3, H, W] in [0, 1], on the training device.
            generator: on the training device, seeded.
        """
        return images
