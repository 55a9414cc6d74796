"""GoogLeNet for small images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ._families import Classifier, is_small, small_stem


@dataclass(frozen=True)
class GoogLeNet(Classifier):
    """GoogLeNet (Szegedy et al., CVPR 2015) with a small-image stem: 3x3 stride 1, no max-pools.

    torchvision's model (timm has none): batch norm after every convolution, 3x3 where the paper has 5x5
    kernels, no auxiliary classifiers, dropout 0.2. PyTorch's own initialisation: with torchvision's (normal,
    0.01), SGD at 0.1 hardly learns from few images. 5.60 million weights with 10 classes at 32 pixels. As in
    the field's CIFAR form, the first Inception block works at the image's own size. Images larger than 64
    pixels get the original 7x7 stride-2 stem with its max-pools.
    """

    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        from torchvision import models  # here, because planning and reporting do not need it

        model = models.googlenet(weights=None, num_classes=classes, aux_logits=False, init_weights=False)
        if is_small(image_size):
            model.conv1.conv = small_stem(64)
            model.maxpool1 = nn.Identity()
            model.maxpool2 = nn.Identity()
        return model
