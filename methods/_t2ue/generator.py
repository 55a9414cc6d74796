"""SSA-GAN's generator, which turns a text's features and a random vector into noise of a fixed size."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.errors import ConfigError, UnavailableError, unknown

BOUNDS = ("scale", "clamp")
LATENT = 100  # length of the random vector
FIRST_BATCH = 32  # random vectors that an untrained network's statistics are of
MASK_CHANNELS = 100  # hidden channels of each head that predicts a mask
TEXT_HIDDEN = 256  # hidden units of each network that processes the text
START = 4  # pixels: side of the first feature map
SMALLEST, LARGEST = 16, 1024  # pixels: smallest and largest side of the noise


class SSAGAN(nn.Module):
    """The generator of SSA-GAN (Liao et al., CVPR 2022) for text features of any length, written from its description.

    Random vectors become feature maps of 4 pixels, which residual blocks double in size until they reach that of the
    noise. In each block the text scales and shifts the normalised features where a mask allows it, and each block's
    output predicts the next block's mask. A block's residual is multiplied by a learned strength that starts at 0, and
    the last layers that process the text start at 0 too, so a fresh network ignores the text.

    Args:
        filters: channels of the last block (``ngf``); the first blocks have eight times as many.
        text_width: length of a text's features.
        size: pixels per side of the noise, a power of 2 from 16 to 1024.

    Example: T2UE has 64 filters, 512-d text and 256 pixels, 31,329,281 trainable weights; SSA-GAN has 256-d text.
    """

    def __init__(self, filters: int = 64, text_width: int = 512, size: int = 256):
        super().__init__()
        plan = [filters * share for share in channel_plan(size)]
        self.text_width, self.size = text_width, size
        self.first_mask = mask_head(plan[0])
        self.stem = nn.Linear(LATENT, plan[0] * START * START)
        self.blocks = nn.ModuleList(
            Block(before, after, text_width, last=number == len(plan) - 2)
            for number, (before, after) in enumerate(itertools.pairwise(plan))
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(filters), nn.LeakyReLU(0.2), nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh()
        )

    def forward(self, latent: Tensor, text: Tensor) -> Tensor:
        """float [B, 3, size, size] in (-1, 1), not yet bounded.

        Args:
            latent: float [B, 100], standard normal.
            text: float [B, text_width], a frozen text encoder's features.
        """
        features = self.stem(latent).view(len(latent), -1, START, START)
        mask = self.first_mask(features)
        for number, block in enumerate(self.blocks):
            if number:
                features, mask = doubled(features), doubled_smoothly(mask)
            features, mask = block(features, mask.sigmoid(), text)
        return self.head(features)


class Block(nn.Module):
    """A residual block, twice normalise, rectify, convolve: [B, C, H, W] -> ([B, D, H, W], the next mask's logits).

    Args:
        before, after: input and output channels.
        text_width: length of a text's features.
        last: whether this is the last block, which predicts no mask; ``forward`` then returns the one it was given.
    """

    def __init__(self, before: int, after: int, text_width: int, last: bool):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.norm1 = TextNorm(before, text_width)
        self.norm2 = TextNorm(after, text_width)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else None
        self.mask = None if last else mask_head(after)

    def forward(self, features: Tensor, mask: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        found = self.conv1(functional.relu(self.norm1(features, mask, text)))
        found = self.conv2(functional.relu(self.norm2(found, mask, text)))
        straight = features if self.shortcut is None else self.shortcut(features)
        result = straight + self.strength * found
        return result, mask if self.mask is None else self.mask(result)


class TextNorm(nn.Module):
    """``(1 + m g(text)) norm(features) + m b(text)``: g and b are per channel, the mask m is per pixel.

    Args:
        channels: of the features.
        text_width: length of a text's features.
    """

    def __init__(self, channels: int, text_width: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = text_network(text_width, channels)
        self.shift = text_network(text_width, channels)

    def forward(self, features: Tensor, mask: Tensor, text: Tensor) -> Tensor:
        """float [B, C, H, W]; mask: [B, 1, H, W] in (0, 1); text: [B, text_width]."""
        gain, shift = self.gain(text)[:, :, None, None], self.shift(text)[:, :, None, None]
        return (1 + mask * gain) * self.norm(features) + mask * shift


def text_network(text_width: int, channels: int) -> nn.Sequential:
    """Two layers whose output starts as zeros."""
    out = nn.Linear(TEXT_HIDDEN, channels)
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    return nn.Sequential(nn.Linear(text_width, TEXT_HIDDEN), nn.ReLU(), out)


def mask_head(channels: int) -> nn.Sequential:
    """[B, C, H, W] -> a mask's logits, [B, 1, H, W]."""
    return nn.Sequential(
        nn.Conv2d(channels, MASK_CHANNELS, 3, padding=1),
        nn.BatchNorm2d(MASK_CHANNELS),
        nn.ReLU(),
        nn.Conv2d(MASK_CHANNELS, 1, 1),
    )


def channel_plan(size: int) -> list[int]:
    """Channels before, between and after the blocks, in units of ``filters``.

    Example: 256 pixels are six doublings and seven blocks, ``[8, 8, 8, 8, 8, 4, 2, 1]``; 32 pixels are
    ``[8, 8, 4, 2, 1]``.
    """
    doublings = math.log2(size / START) if size > 0 else 0
    if doublings != round(doublings) or not SMALLEST <= size <= LARGEST:
        raise ConfigError(
            f"a generator makes noise of {SMALLEST} to {LARGEST} pixels, a power of 2, not {size}: take 256 (the "
            "paper's), 64 or 32; it is resized to the images"
        )
    return [8] * (round(doublings) - 1) + [4, 2, 1]


def doubled(features: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2H, 2W]; each value is repeated four times."""
    return functional.interpolate(features, scale_factor=2)


def doubled_smoothly(mask: Tensor) -> Tensor:
    """float [B, 1, H, W] -> [B, 1, 2H, 2W], bilinear, with corners kept (``align_corners=True``).

    It is two matrix products, because the gradient of torch's own resizing is not repeatable on accelerators.
    """
    rows, columns = (_stretching(side).to(mask) for side in mask.shape[2:])
    return rows @ mask @ columns.T


def bounded(raw: Tensor, radius: float, bound: str) -> Tensor:
    """The network's output within the linf ball, in the unit of ``radius``.

    Args:
        raw: float [B, 3, H, W] in (-1, 1).
        radius: of the budget.
        bound: ``scale`` multiplies by the radius, ``clamp`` clips at the radius, as T2UE's code does.
    """
    if bound not in BOUNDS:
        raise unknown("bound", bound, BOUNDS)
    return radius * raw if bound == "scale" else raw.clamp(-radius, radius)


def resized(noise: Tensor, size: tuple[int, int]) -> Tensor:
    """Noise [B, 3, h, w], resized by nearest neighbours: 256 to 32 pixels keeps every eighth row and column."""
    return noise if tuple(noise.shape[2:]) == tuple(size) else functional.interpolate(noise, size)


def seeded_ssagan(
    filters: int, text_width: int, size: int, seed: int, device: torch.device | str = "cpu"
) -> SSAGAN:
    """A fresh network whose weights depend on ``seed`` alone, channels-last, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SSAGAN(filters, text_width, size)
    return network.to(device).to(memory_format=torch.channels_last).train()


@torch.no_grad()
def untrained(
    filters: int, text_width: int, size: int, seed: int, device: torch.device | str = "cpu"
) -> SSAGAN:
    """A fresh network in evaluation mode: the control that shows what training adds. It ignores the text.

    Its batch norms have the statistics of random vectors, as they have them after the first step of training. With
    those that PyTorch starts from, mean 0 and variance 1, its noise would be less than half a step of 1/255.
    """
    network = seeded_ssagan(filters, text_width, size, seed, device)
    latent = torch.randn(FIRST_BATCH, LATENT, generator=torch.Generator().manual_seed(seed)).to(device)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of one batch, as they are
    network(latent, torch.zeros(FIRST_BATCH, text_width, device=device))
    return network.eval().requires_grad_(False)


def load_generator(tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> SSAGAN:
    """A trained generator, in evaluation mode, from its ``state_dict``; its sizes are inferred from the shapes.

    Raises:
        UnavailableError: if the tensors are not those of a generator.
    """
    try:
        strengths = [name for name in tensors if name.startswith("blocks.") and name.endswith(".strength")]
        network = SSAGAN(
            filters=len(tensors["head.0.weight"]),
            text_width=tensors["blocks.0.norm1.gain.0.weight"].shape[1],
            size=START * 2 ** (len(strengths) - 1),
        )
        network.load_state_dict(dict(tensors))
    except (KeyError, RuntimeError, ConfigError) as error:
        raise UnavailableError(f"these tensors are no generator's: {str(error)[:300]}") from error
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


@functools.lru_cache(maxsize=16)
def _stretching(side: int) -> Tensor:
    """float32 [2 side, side]: the weight of each old row or column in each new one."""
    lines = torch.eye(side)[None, None]
    size = (2 * side, side)
    return functional.interpolate(lines, size=size, mode="bilinear", align_corners=True)[0, 0]
