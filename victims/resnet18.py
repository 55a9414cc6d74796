"""ResNet-18 for small images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ue_bench import Victim


@dataclass(frozen=True)
class ResNet18(Victim):
    """ResNet-18 (He et al., CVPR 2016) with the field's CIFAR stem: 3x3 stride 1, no max-pool.

    timm's model, 11.17 million weights. Images larger than 64 pixels get the original 7x7 stride-2 stem
    with its max-pool.
    """

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        model = timm.create_model("resnet18", num_classes=classes)
        if max(image_size) <= 64:
            model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
            model.maxpool = nn.Identity()
        return model
