"""What victims that learn from two views of each image share. The registry skips this file: it holds no victim."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ue_bench import Recipe, Victim
from ue_bench.crafting.contrastive import Blueprint, ContrastiveModel, Encoder
from ue_bench.crafting.views import Augmentation, view

BACKBONE = ""  # the blueprint's surrogate, which a victim builds by itself


class ViewLearner(nn.Module):
    """A contrastive model, its views, and the linear layer of a probe on its backbone's features.

    Args:
        model: its encoder has a backbone that gives ``width`` features.
        width: of the features.
        classes: that the probe tells apart.
    """

    def __init__(self, model: ContrastiveModel, width: int, classes: int):
        super().__init__()
        self.model, self.augmentation = model, Augmentation()
        self.classifier = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] in [0, 1] -> float [B, width]."""
        encoder: Any = self.model.encoder
        return encoder.backbone(images)

    def forward(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] in [0, 1] -> logits float [B, classes]."""
        return self.classifier(self.features(images))

    def objective(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of a training step, a scalar, through two views that it draws."""
        self.model.follow()
        one, two = (view(images, self.augmentation, generator) for _ in range(2))
        return self.model.loss(one, two)

    def compute_in(self, bf16: bool) -> None:
        """Whether the encoders compute in bf16 where the device gains by it."""
        for part in self.modules():
            if isinstance(part, Encoder):
                part.bf16 = bf16

    def stepped(self) -> None:
        """Called after every training step."""
        self.model.remember()

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.model.position)

    def set_extra_state(self, state: Tensor) -> None:
        self.model.position = int(state)


@dataclass(frozen=True)
class FromViews(Victim):
    """A victim that is trained to know two augmented views of an image from those of others, without labels.

    It crops, mirrors and recolours images by itself, as CP and TUE do, so the recipe does neither.
    """

    learns: ClassVar[str] = "views"

    @abstractmethod
    def backbone(self, classes: int, image_size: tuple[int, int]) -> Any:
        """A model of timm."""

    @abstractmethod
    def blueprint(self) -> Blueprint:
        """The framework and its settings."""

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        backbone = self.backbone(classes, image_size)
        backbone.reset_classifier(0)
        width = int(backbone.num_features)
        return ViewLearner(self.blueprint().complete(backbone, width), width, classes)

    def recipe(self, recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, weight_decay=1e-4, crop_padding=0, flip=False)
