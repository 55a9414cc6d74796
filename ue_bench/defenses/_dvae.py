"""D-VAE's network: an auto-encoder with two decoders, one for the image and one for the noise of its class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu


class Block(nn.Module):
    """A basic block of ResNet; it halves the sides where it changes the width."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.first, self.first_norm = (
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.second, self.second_norm = (
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.short = nn.Sequential()
        if stride == 2:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        inner = relu(self.first_norm(self.first(images)))
        return relu(self.second_norm(self.second(inner)) + self.short(images))


def decoder(width: int) -> nn.Sequential:
    """[B, 2 width, H / 2, W / 2] -> [B, 3, H, W]."""
    return nn.Sequential(
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.ConvTranspose2d(width, width, 3, 1, 1),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2, 3, 1, 1),
        nn.InstanceNorm2d(width // 2),
        nn.ReLU(),
        nn.ConvTranspose2d(width // 2, 3, 3, 1, 1),
    )


@dataclass(frozen=True)
class Parts:
    """What the network makes of a batch.

    Attributes:
        image: float [B, 3, H, W] in [0, 1], the image without its noise.
        noise: float [B, 3, H, W].
        rate: float scalar: the KL divergence of the latent from a standard normal distribution, summed over channels
            and averaged over places and images.
    """

    image: Tensor
    noise: Tensor
    rate: Tensor


class DisentanglingVAE(nn.Module):
    """A ResNet-18 up to the first block of its second layer, a latent, and the two decoders.

    Args:
        classes: of the labels, each with a learned embedding as large as the latent.
        image_size: (height, width), even.
        width: channels of the first layer; ResNet-18: 64.
    """

    def __init__(self, classes: int, image_size: tuple[int, int], width: int):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            Block(width, width),
            Block(width, width),
            Block(width, 2 * width),
        )
        self.mean, self.log_variance = nn.Conv2d(2 * width, 4 * width, 1), nn.Conv2d(2 * width, 4 * width, 1)
        self.after = nn.Conv2d(4 * width, 2 * width, 1)
        self.image, self.noise = decoder(width), decoder(width)
        self.classes = nn.Parameter(torch.randn(classes, 2 * width, image_size[0] // 2, image_size[1] // 2))

    def forward(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Parts:
        seen = self.encoder(images)
        mean, log_variance = self.mean(seen), self.log_variance(seen)
        drawn = torch.empty_like(mean).normal_(generator=generator)
        latent = self.after(mean + drawn * (0.5 * log_variance).exp())
        return Parts(
            self.image(latent).sigmoid(),
            self.noise(self.classes[labels] + latent),
            divergence(mean, log_variance),
        )


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of [B, C, H, W], summed over channels, averaged over the rest."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()


def loss_of(parts: Parts, images: Tensor, rate: float, least_noise: float | None) -> Tensor:
    """D-VAE's loss: both reconstructions, a rate that must not exceed ``rate``, and the size of the noise.

    Args:
        images: float [B, 3, H, W] in [0, 1], as published.
        rate: below it the divergence has no gradient.
        least_noise: below this mean square the noise has no gradient; None: its size does not count yet.
    """
    weight = 0.01 if rate > 0.99 else 0.5
    whole = (parts.image + parts.noise).clamp(0, 1)
    loss = mse_loss(parts.image, images) + mse_loss(whole, images) + weight * parts.rate.clamp_min(rate)
    return loss if least_noise is None else loss + parts.noise.square().mean().clamp_min(least_noise)
