"""The network that turns a fixed random input into one noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ue_bench.errors import ConfigError

SMALLEST = 8  # pixels: at a quarter of this, there must still be pixels to mirror


class NoiseGenerator(nn.Module):
    """Downsamples twice, then residual blocks, then upsamples twice (Johnson et al., ECCV 2016).

    Maps float [1, 3, H, W] to the same shape in (-1, 1). It stays in training mode: with a batch of one, batch
    normalisation then uses the statistics of its one input, as in training. Borders are mirrored.

    Args:
        filters: of the first convolution; there are twice as many after one downsampling, four times after both.
        blocks: residual blocks at a quarter of the size.

    Example: 64 filters and 6 blocks are the network of style transfer and CycleGAN, 7.8 million weights.
    """

    def __init__(self, filters: int = 64, blocks: int = 6):
        super().__init__()
        half, quarter = 2 * filters, 4 * filters
        self.layers = nn.Sequential(
            Mirror(3),
            *_normed(nn.Conv2d(3, filters, 7, bias=False)),
            *_normed(nn.Conv2d(filters, half, 3, stride=2, padding=1, bias=False)),
            *_normed(nn.Conv2d(half, quarter, 3, stride=2, padding=1, bias=False)),
            *[Block(quarter) for _ in range(blocks)],
            *_normed(nn.ConvTranspose2d(quarter, half, 3, 2, padding=1, output_padding=1, bias=False)),
            *_normed(nn.ConvTranspose2d(half, filters, 3, 2, padding=1, output_padding=1, bias=False)),
            Mirror(3),
            nn.Conv2d(filters, 3, 7),
            nn.Tanh(),
        )

    def forward(self, code: Tensor) -> Tensor:
        height, width = code.shape[2:]
        if min(height, width) < SMALLEST:
            raise ConfigError(
                f"images of {width}x{height} pixels are too small for a noise generator: set image_size= to "
                f"{SMALLEST} or more"
            )
        return self.layers(code)[..., :height, :width]


class Block(nn.Module):
    """Two convolutions beside the identity: [B, C, H, W] -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            Mirror(1),
            *_normed(nn.Conv2d(channels, channels, 3, bias=False)),
            Mirror(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class Mirror(nn.Module):
    """Adds ``width`` mirrored pixels on each side, without the edge itself, as ``nn.ReflectionPad2d`` does.

    It uses slices, because the gradient of torch's own padding is not repeatable on accelerators.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, images: Tensor) -> Tensor:
        for dim in (2, 3):
            last = images.shape[dim] - 1
            before = images.narrow(dim, 1, self.width).flip(dim)
            after = images.narrow(dim, last - self.width, self.width).flip(dim)
            images = torch.cat([before, images, after], dim)
        return images


def seeded_generator(filters: int, blocks: int, seed: int, device: torch.device) -> NoiseGenerator:
    """A fresh network whose weights depend on ``seed`` alone, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NoiseGenerator(filters, blocks).to(device).train()


def _normed(layer: nn.Module) -> tuple[nn.Module, ...]:
    return layer, nn.BatchNorm2d(int(layer.out_channels)), nn.ReLU(inplace=True)  # type: ignore[arg-type]
