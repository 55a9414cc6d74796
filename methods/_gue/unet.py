"""The network that makes an image's noise from the image."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.errors import ConfigError

LEVELS = 3  # sides are halved after each


class UNet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015): float [B, 3, H, W] -> the same shape, from -1 to 1.

    Three levels of two convolutions, average pooling between them, then bilinear enlarging, with corners kept, beside
    what the level had before it was pooled.

    Args:
        width: channels of the first level; each further one has twice as many. GUE's code: 64.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS + 1)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(double(low + high, high) for low, high in pairs)
        self.last = nn.Sequential(nn.Conv2d(width, 3, 1), nn.BatchNorm2d(3))

    def forward(self, images: Tensor) -> Tensor:
        if min(images.shape[2:]) < 2**LEVELS:
            raise ConfigError(
                f"images of {images.shape[3]}x{images.shape[2]} pixels are too small for GUE's network: set image_size="
                f"{2**LEVELS} or more"
            )
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            images = block(images if level == 0 else functional.avg_pool2d(images, 2))
            kept.append(images)
        found = kept.pop()
        for block in self.up:
            beside = kept.pop()
            found = block(torch.cat([beside, enlarged(found, beside.shape[2], beside.shape[3])], 1))
        return self.last(found).tanh()


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Twice a 3x3 convolution, batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def enlarged(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, corners to corners: [B, C, h, w] -> [B, C, height, width]; matrix products, which are repeatable."""
    rows, columns = _weights(images.shape[2], height), _weights(images.shape[3], width)
    return rows.to(images) @ images @ columns.to(images).T


@functools.lru_cache(maxsize=16)
def _weights(old: int, new: int) -> Tensor:
    """float32 [new, old]: the weight of each old row in each new one."""
    lines = torch.eye(old)[None, None]
    return functional.interpolate(lines, size=(new, old), mode="bilinear", align_corners=True)[0, 0]


def seeded_unet(width: int, seed: int, device: torch.device) -> UNet:
    """A fresh network whose weights depend on ``seed`` alone, channels-last, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(width)
    return network.to(device, memory_format=torch.channels_last).train()
