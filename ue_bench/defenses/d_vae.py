"""D-VAE: an auto-encoder, trained on the protected images themselves, that splits them into picture and noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ue_bench import Count, Defense, Positive, Share
from ue_bench.defenses._dvae import DisentanglingVAE, loss_of
from ue_bench.errors import ConfigError, TrainingError


@dataclass(frozen=True)
class DVAE(Defense):
    """D-VAE (Yu et al., ICML 2024), a purifier that needs nothing but the protected images and their labels.

    Its latent may hold only a limited rate, too little for the noise, which a second decoder makes from the latent and
    an embedding of the label. Two stages: the first one's noise is subtracted; a second network is trained on the
    result, with a higher limit, its noise is subtracted, too, and its reconstruction of that is trained on, in 8 bits.
    Crops and flips come afterwards. The authors train victims for 60 epochs. Written from a specification of their
    code; not measured here at its own size.
    """

    epochs: Count = 60  # of each stage; code
    batch_size: Count = 128  # images; the last, smaller batch of an epoch is left out; code
    learning_rate: Positive = 0.005  # Adam, cosine to 0 over the epochs; code
    gradient_clip: Positive = 5.0  # largest global norm; code
    width: Count = 64  # channels of the first layer; code
    first_rate: Positive = 1.0  # the first stage's limit of the latent's divergence; code
    second_rate: Positive = 3.0  # the second stage's; scripts. Default of the code: 2.5
    noise_from: Share = 1 / 6  # share of the epochs after which the noise's size counts; code: 10 of 60
    least_noise: Positive = 0.002  # mean square below which it does not; code

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 1, "width": 4, "batch_size": 32},
        "quick": {"epochs": 8, "width": 8},
        "laptop": {"epochs": 20, "width": 16},
    }

    def fit_once(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        if any(side % 2 for side in images.shape[2:]):
            raise ConfigError(
                f"d_vae needs images of even sides, not {images.shape[2]} x {images.shape[3]}: set image_size"
            )
        shown = images.to(torch.float32).contiguous() / 255  # channels-last crashes torch here, on a CPU
        for rate in (self.first_rate, self.second_rate):
            model = self._trained(shown, labels, rate, generator)
            shown = self._made(model, shown, labels, generator, noise=True)
        shown = self._made(model, shown, labels, generator, noise=False)
        return (shown * 255).to(torch.uint8)  # cut off, as the code does

    def _trained(self, images: Tensor, labels: Tensor, rate: float, generator: torch.Generator) -> nn.Module:
        """One stage's network, trained on float images [N, 3, H, W] in [0, 1]."""
        device, seed = (
            generator.device,
            torch.randint(2**31, (), generator=generator, device=generator.device),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed))
            size = (images.shape[2], images.shape[3])
            model = DisentanglingVAE(int(labels.max()) + 1, size, self.width)
        model = model.to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        size_at_once = min(self.batch_size, len(images))
        for epoch in range(self.epochs):
            least = self.least_noise if epoch >= self.noise_from * self.epochs else None
            order = torch.randperm(len(images), generator=generator, device=device).cpu()
            for index in order[: len(order) // size_at_once * size_at_once].split(size_at_once):
                batch, classes = images[index].to(device), labels[index].to(device)
                loss = loss_of(model(batch, classes, generator), batch, rate, least)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), self.gradient_clip)
                optimizer.step()
            schedule.step()
            if not bool(loss.isfinite()):
                raise TrainingError(
                    f"d_vae diverged in epoch {epoch + 1}: lower d_vae.learning_rate (now {self.learning_rate:g})"
                )
        return model.eval()

    @torch.no_grad()
    def _made(
        self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator, noise: bool
    ) -> Tensor:
        """float [N, 3, H, W] in [0, 1]: the images without their noise, or what the network reconstructs of them."""
        found = []
        for start in range(0, len(images), self.batch_size):
            index = slice(start, start + self.batch_size)
            batch = images[index].to(generator.device)
            parts = model(batch, labels[index].to(generator.device), generator)
            found.append(((batch - parts.noise).clamp(0, 1) if noise else parts.image).cpu())
        return torch.cat(found)
