"""DenseNet-121 for small images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ._families import Classifier, is_small, small_stem


@dataclass(frozen=True)
class DenseNet121(Classifier):
    """DenseNet-121 (Huang et al., CVPR 2017) with the field's CIFAR stem: 3x3 stride 1, no max-pool.

    timm's model, growth rate 32, 6.96 million weights with 10 classes at 32 pixels. Images larger than 64
    pixels get the original 7x7 stride-2 stem with its max-pool.
    """

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        model = timm.create_model("densenet121", num_classes=classes)
        if is_small(image_size):
            model.features.conv0 = small_stem(64)
            model.features.pool0 = nn.Identity()
        return model
