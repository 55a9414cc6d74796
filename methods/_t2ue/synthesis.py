"""A faster forward pass of the generator for making noise, with the same results as in evaluation mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .generator import LATENT, SSAGAN, START, Block, TextNorm, doubled_smoothly

# Bytes of feature maps that a convolution reads at once on a CPU. Maps this small stay in the cache and need no new
# memory from the system, which would cost as much as the convolution.
STRIP_BYTES = 2**22


@dataclass(frozen=True)
class Convolution:
    """Weights [D, C, k, k], channels-last, and bias [D]; maps [B, H, W, C] -> [B, H, W, D].

    With ``inner`` there is no padding along the rows: [B, H, W, C] -> [B, H - k + 1, W, D].
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor, inner: bool = False) -> Tensor:
        side = self.weight.shape[2] // 2
        if side == 0:
            return functional.linear(features, self.weight.flatten(1), self.bias)
        padding = (0 if inner else side, side)
        found = functional.conv2d(features.permute(0, 3, 1, 2), self.weight, self.bias, padding=padding)
        return found.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class MaskHead:
    """Computes a mask's logits [B, 1, H, W] from maps [B, H, W, C]; the last layer has weight [1, C] and bias [1]."""

    hidden: Convolution
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, head: nn.Sequential) -> MaskHead:
        layers: Any = head
        convolution, norm, _, out = layers
        return cls(folded(convolution, *affine(norm)), out.weight.detach().flatten(1), out.bias.detach())

    def __call__(self, features: Tensor) -> Tensor:
        batch, height, width, _ = features.shape
        logits = torch.empty(batch, height, width, 1, dtype=features.dtype, device=features.device)
        for images, top, bottom in strips(features):
            hidden = functional.relu_(self.hidden(framed(features[images], top, bottom, 1), inner=True))
            logits[images, top:bottom] = functional.linear(hidden, self.weight, self.bias)
        return logits.permute(0, 3, 1, 2)


class Step:
    """A block with its normalisations and its strength folded into its convolutions.

    The text's ``(1 + m g) n + m b`` of normalised features n is ``n + m (g n + b)``. Computed before the features are
    doubled in size, n and ``g n + b`` cost a quarter; only the mask needs the new size, and the shortcut does not.

    Args:
        block: in evaluation mode.
        after: (scale, shift), each [D], that follow the block, or None.
    """

    def __init__(self, block: Block, after: tuple[Tensor, Tensor] | None):
        scale, shift = after or (torch.ones_like(block.strength), torch.zeros_like(block.strength))
        strength = block.strength.detach()
        self.scale1, self.shift1 = affine(block.norm1.norm)
        self.texts: tuple[TextNorm, TextNorm] = (block.norm1, block.norm2)
        self.conv1 = folded(block.conv1, *affine(block.norm2.norm))
        self.conv2 = folded(block.conv2, strength * scale, shift)
        self.shortcut = None if block.shortcut is None else folded(block.shortcut, scale)
        self.mask = None if block.mask is None else MaskHead.of(block.mask)

    def __call__(self, features: Tensor, mask: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [B, h, w, C], a mask [B, 1, H, W] of their or twice their size -> (maps [B, H, W, D], next logits)."""
        gain1, gain2 = (norm.gain(text)[:, None, None] for norm in self.texts)
        lift1, lift2 = (norm.shift(text)[:, None, None] for norm in self.texts)
        times = mask.shape[2] // features.shape[1]
        plane = mask.permute(0, 2, 3, 1).contiguous()
        normal = torch.addcmul(self.shift1, features, self.scale1)
        spoken = torch.addcmul(lift1, normal, gain1)
        straight = features if self.shortcut is None else self.shortcut(features)
        batch, height, width, _ = plane.shape
        shape = (batch, height, width, len(self.conv2.bias))
        result = torch.empty(shape, dtype=features.dtype, device=features.device)
        for images, top, bottom in strips(features, times):
            shown = spread(normal[images], spoken[images], plane[images], top, bottom)
            found = self.conv1(shown, inner=True)
            speak(found, gain2[images], lift2[images], framed(plane[images], top, bottom, 1))
            if top == 0:
                found[:, 0] = 0  # rows beyond the border are zeros to the next convolution
            if bottom == height:
                found[:, -1] = 0
            found = self.conv2(found, inner=True)
            kept = straight[images, top // times : bottom // times, None, :, None]
            torch.add(cells(found, times), kept, out=cells(result[images, top:bottom], times))
        return result, result if self.mask is None else self.mask(result)


class Synthesiser:
    """A frozen, trained generator for making noise: results do not depend on the batch, and need no gradients.

    Args:
        network: not changed; what depends only on its weights is computed once, here.
    """

    def __init__(self, network: SSAGAN):
        layers: Any = network.head
        head_norm, leak, last, _ = layers
        with torch.no_grad():
            self.stem = network.stem
            self.first_mask = MaskHead.of(network.first_mask)
            blocks = list(network.blocks)
            self.steps = [Step(block, None) for block in blocks[:-1]]  # type: ignore[arg-type]
            self.steps.append(Step(blocks[-1], affine(head_norm)))  # type: ignore[arg-type]
            self.last = folded(last)
        self.leak = float(leak.negative_slope)

    @torch.inference_mode()
    def __call__(self, latent: Tensor, text: Tensor) -> Tensor:
        """float [B, 3, size, size] in (-1, 1), channels-last, not yet bounded; arguments as of the network."""
        channels = self.stem.out_features // START**2
        features = self.stem(latent.view(-1, LATENT)).view(len(latent), channels, START, START)
        features = features.permute(0, 2, 3, 1).contiguous()
        mask = self.first_mask(features)
        for number, step in enumerate(self.steps):
            features, mask = step(features, (doubled_smoothly(mask) if number else mask).sigmoid(), text)
        found = self.last(functional.leaky_relu_(features, self.leak))
        return found.permute(0, 3, 1, 2).tanh()


def spread(normal: Tensor, spoken: Tensor, plane: Tensor, top: int, bottom: int) -> Tensor:
    """``relu(normal + plane * spoken)``, rows ``top - 2`` to ``bottom + 2``, [B, bottom - top + 4, W, C].

    Args:
        normal, spoken: [B, h, w, C], of the plane's size or half of it.
        plane: [B, H, W, 1].
        top, bottom: of H; rows beyond the border are zeros.
    """
    height, width = plane.shape[1:3]
    times = height // normal.shape[1]
    shape = (len(normal), bottom - top + 4, width, normal.shape[3])
    result = torch.empty(shape, dtype=normal.dtype, device=normal.device)
    first, last = max(0, top - 2), min(height, bottom + 2)
    rows = slice(first // times, last // times)
    inside = result[:, first - top + 2 : last - top + 2]
    torch.addcmul(
        normal[:, rows, None, :, None],
        cells(plane[:, first:last], times),
        spoken[:, rows, None, :, None],
        out=cells(inside, times),
    )
    functional.relu_(inside)
    result[:, : first - top + 2] = 0
    result[:, last - top + 2 :] = 0
    return result


def speak(features: Tensor, gain: Tensor, lift: Tensor, plane: Tensor) -> None:
    """``relu(features + plane * (gain * features + lift))`` in place."""
    functional.relu_(features.addcmul_(plane, torch.addcmul(lift, features, gain)))


def framed(maps: Tensor, top: int, bottom: int, frame: int) -> Tensor:
    """Rows ``top - frame`` to ``bottom + frame`` of maps [B, H, W, C]; those beyond the border are zeros."""
    height = maps.shape[1]
    missing = (max(0, frame - top), max(0, bottom + frame - height))
    rows = maps[:, max(0, top - frame) : bottom + frame]
    return functional.pad(rows, (0, 0, 0, 0, *missing)) if any(missing) else rows


def cells(maps: Tensor, times: int) -> Tensor:
    """A view, [B, h, times, w, times, C], of maps [B, times h, times w, C]."""
    return maps.unflatten(2, (-1, times)).unflatten(1, (-1, times))


def strips(maps: Tensor, times: int = 1) -> list[tuple[slice, int, int]]:
    """(images, first row, row after the last) of the pieces of maps [B, h, w, C] that grow by ``times``.

    On a CPU each piece has about ``STRIP_BYTES``: several small images, or some rows of a large one, a multiple
    of ``times``. On an accelerator there is one piece.
    """
    batch, height = len(maps), maps.shape[1] * times
    if maps.device.type != "cpu":
        return [(slice(0, batch), 0, height)]
    size = maps[0].nbytes * times**2
    together, rows = max(1, STRIP_BYTES // size), max(4, STRIP_BYTES * height // size // 4 * 4)
    return [
        (slice(image, image + together), top, min(height, top + rows))
        for image in range(0, batch, together)
        for top in range(0, height, rows)
    ]


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(scale, shift), each [C], by which batch normalisation in evaluation mode can be replaced."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = (variance + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach()
    return scale, (0 if norm.bias is None else norm.bias.detach()) - mean * scale


def folded(
    convolution: nn.Conv2d, scale: Tensor | float = 1.0, shift: Tensor | float | None = None
) -> Convolution:
    """``scale * convolution(x) + shift`` as one convolution; without ``shift`` the bias does not change."""
    scale = torch.as_tensor(scale, device=convolution.weight.device)
    weight = convolution.weight.detach() * scale.view(-1, 1, 1, 1)
    assert convolution.bias is not None
    bias = convolution.bias.detach() * scale + (0 if shift is None else shift)
    return Convolution(weight.contiguous(memory_format=torch.channels_last), bias)
