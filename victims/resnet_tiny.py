"""A small ResNet for CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ue_bench import Count

from ._families import Classifier


@dataclass(frozen=True)
class ResNetTiny(Classifier):
    """timm's ResNet class with 16-32-64-128 channels, one block a stage, a 3x3 stride-2 stem: for CPUs.

    No paper's victim: it shows in minutes on two CPU cores whether noise works at all.
    """

    channels: Count = 16  # of the first stage; each further stage has twice as many
    stem_stride: Count = 2  # 1: four times the work; AR needs it, because it depends on neighbouring pixels

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        widths = tuple(self.channels * 2**stage for stage in range(4))
        model = timm.create_model(
            "resnet10t",
            num_classes=classes,
            channels=widths,
            stem_type="deep",
            stem_width=self.channels // 2,
            avg_down=False,
        )
        model.conv1 = nn.Conv2d(3, self.channels, 3, stride=self.stem_stride, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
        return model
