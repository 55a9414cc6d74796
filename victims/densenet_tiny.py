"""A small DenseNet for CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ue_bench import Count

from ._families import Classifier, small_stem


@dataclass(frozen=True)
class DenseNetTiny(Classifier):
    """timm's DenseNet class, growth rate 12, three blocks, a 3x3 stride-2 stem without max-pool: for CPUs.

    No paper's victim: it shows in minutes on two CPU cores whether noise works on densely connected networks.
    """

    growth: Count = 12  # channels that each layer adds; the stem has twice as many
    bottleneck: Count = 2  # width of a layer's 1x1 convolution, in growth rates; DenseNet-BC: 4
    layers: tuple[Count, ...] = (2, 3, 3)  # dense layers in each block
    stem_stride: Count = 2  # 1: four times the work

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        import timm  # here, because planning and reporting do not need it, and it takes a second

        model = timm.create_model(
            "densenet121",
            num_classes=classes,
            growth_rate=self.growth,
            block_config=self.layers,
            bn_size=self.bottleneck,
        )
        model.features.conv0 = small_stem(2 * self.growth, self.stem_stride)
        model.features.pool0 = nn.Identity()
        return model
