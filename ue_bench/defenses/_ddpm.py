"""A small diffusion model (Ho et al., NeurIPS 2020): its schedule, its steps forward and back, and its network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

MULTIPLES = (1, 2, 2, 2)  # channels of each level, in widths; improved-diffusion's at 32 pixels
ATTENTIVE = (1, 2)  # levels with attention: 16 and 8 of 32 pixels
HEADS = 4  # of attention
OFFSET, LARGEST_BETA = 0.008, 0.999  # of the cosine schedule


class Diffusion:
    """The cosine schedule of improved-diffusion (Nichol & Dhariwal, ICML 2021) over images in [-1, 1].

    Attributes:
        kept: float64 [steps + 1]: the share of the signal's variance that is left after t steps; 1 at 0.
    """

    def __init__(self, steps: int):
        place = (torch.arange(steps + 1, dtype=torch.float64) / steps + OFFSET) / (1 + OFFSET)
        level = (place * math.pi / 2).cos().square()
        betas = (1 - level[1:] / level[:-1]).clamp_max(LARGEST_BETA)
        self.kept = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])

    def noisy(self, images: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """float32 [B, 3, H, W]: the images after ``times`` steps, int64 [B], with this normal noise."""
        kept = self.kept[times.cpu()].to(images.device, images.dtype)[:, None, None, None]
        return kept.sqrt() * images + (1 - kept).sqrt() * noise

    def before(self, images: Tensor, time: int, predicted: Tensor, noise: Tensor) -> Tensor:
        """float32 [B, 3, H, W]: one step back from ``time``, by the noise that was predicted and new normal noise.

        The mean and variance of the posterior, given the picture that the prediction implies, cut to [-1, 1].
        """
        kept, earlier = float(self.kept[time]), float(self.kept[time - 1])
        step = kept / earlier
        picture = ((images - math.sqrt(1 - kept) * predicted) / math.sqrt(kept)).clamp(-1, 1)
        mean = math.sqrt(earlier) * (1 - step) * picture + math.sqrt(step) * (1 - earlier) * images
        variance = (1 - step) * (1 - earlier) / (1 - kept)
        return mean / (1 - kept) + math.sqrt(variance) * noise

    def purified(
        self,
        images: Tensor,
        start: int,
        predict: Callable[[Tensor, Tensor], Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        """float32 [B, 3, H, W] in [-1, 1]: ``start`` steps forward at once, then back one by one.

        Args:
            images: float32 in [-1, 1].
            predict: (noisy images, int64 [B] times) -> the noise in them.
            generator: on their device.
        """

        def draw() -> Tensor:
            return torch.empty_like(images).normal_(generator=generator)

        times = torch.full((len(images),), start, device=images.device)
        found = self.noisy(images, times, draw())
        for time in range(start, 0, -1):
            found = self.before(found, time, predict(found, torch.full_like(times, time)), draw())
        return found.clamp(-1, 1)


class NoisePredictor(nn.Module):
    """improved-diffusion's U-Net without its learned variances: (images [B, 3, H, W], times [B]) -> noise [B, 3, H, W].

    Args:
        width: channels of the first level; a multiple of 4.
        blocks: residual blocks of a level on the way down; one more on the way up.
        steps: of the diffusion, by which times are scaled to at most 1,000.
    """

    def __init__(self, width: int, blocks: int, steps: int):
        super().__init__()
        self.scale, self.width = 1000 / steps, width
        self.time = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down, self.up, kept, channels = nn.ModuleList(), nn.ModuleList(), [width], width
        for level, multiple in enumerate(MULTIPLES):
            for _ in range(blocks):
                self.down.append(Block(channels, width * multiple, 4 * width, level in ATTENTIVE))
                channels = width * multiple
                kept.append(channels)
            if level < len(MULTIPLES) - 1:
                self.down.append(Half(channels))
                kept.append(channels)
        self.middle = Block(channels, channels, 4 * width, True)
        for level, multiple in reversed(list(enumerate(MULTIPLES))):
            for _ in range(blocks + 1):
                self.up.append(Block(channels + kept.pop(), width * multiple, 4 * width, level in ATTENTIVE))
                channels = width * multiple
            if level:
                self.up.append(Twice(channels))
        self.last = nn.Sequential(_norm(channels), nn.SiLU(), _silent(nn.Conv2d(channels, 3, 3, padding=1)))

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        seen = self.time(_waves(times * self.scale, self.width))
        found = self.first(images)
        kept = [found]
        for layer in self.down:
            found = layer(found, seen)
            kept.append(found)
        found = self.middle(found, seen)
        for layer in self.up:
            if isinstance(layer, Block):
                found = torch.cat([found, kept.pop()], 1)
            found = layer(found, seen)
        return self.last(found)


class Block(nn.Module):
    """Two convolutions beside the identity, shifted by the time; then attention among all places, if wanted."""

    def __init__(self, inputs: int, outputs: int, embedding: int, attentive: bool):
        super().__init__()
        self.one = nn.Sequential(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.shift = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs))
        self.two = nn.Sequential(
            _norm(outputs), nn.SiLU(), _silent(nn.Conv2d(outputs, outputs, 3, padding=1))
        )
        self.short = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.attention = Attention(outputs) if attentive else nn.Identity()

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        inner = self.two(self.one(features) + self.shift(seen)[:, :, None, None])
        return self.attention(self.short(features) + inner)


class Attention(nn.Module):
    """Self-attention among all places, beside the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm, self.parts = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = _silent(nn.Conv2d(channels, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        parts = self.parts(self.norm(features)).view(count, 3, HEADS, channels // HEADS, height * width)
        asked, keys, values = parts.transpose(3, 4).unbind(1)
        found = functional.scaled_dot_product_attention(asked, keys, values)
        return features + self.out(found.transpose(2, 3).reshape(features.shape))


class Half(nn.Module):
    """Half the sides, by a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        return self.layer(features)


class Twice(nn.Module):
    """Twice the sides: each value four times, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        wide = features[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
        return self.layer(wide.reshape(count, channels, 2 * height, 2 * width))


def _waves(times: Tensor, width: int) -> Tensor:
    """float32 [B, width]: cosines and sines of the times, of periods that grow to 10,000."""
    half = width // 2
    rates = (-math.log(10_000) * torch.arange(half, device=times.device) / half).exp()
    angles = times[:, None].to(torch.float32) * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels // 2), channels)


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, giving zeros at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
