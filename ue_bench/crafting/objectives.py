"""The losses that a surrogate computes on protected images, so that methods need not know the paradigm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.crafting.resident import Index
from ue_bench.training.arithmetic import autocast


class Objective(Protocol):
    """A loss over images, float [B, 3, H, W] in [0, 1], whose targets are found by the images' index."""

    def loss(self, model: nn.Module, images: Tensor, index: Index) -> Tensor:
        """float32 scalar: the sum over the images."""

    def errors(self, model: nn.Module, images: Tensor, index: Index) -> Tensor:
        """int64 scalar: how many of the images the model gets wrong."""


@dataclass(frozen=True)
class Classification:
    """Cross-entropy to a label for each image.

    Attributes:
        labels: int64 [N], on the device.
        bf16: compute in bf16 where the device gains by it; the loss itself stays float32.
    """

    labels: Tensor
    bf16: bool = True

    def loss(self, model: nn.Module, images: Tensor, index: Index) -> Tensor:
        logits = self._logits(model, images).to(torch.float32)
        return functional.cross_entropy(logits, self.labels[index], reduction="sum")

    def errors(self, model: nn.Module, images: Tensor, index: Index) -> Tensor:
        return (self._logits(model, images).argmax(dim=1) != self.labels[index]).sum()

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        with autocast(images.device, self.bf16):
            return model(images)
