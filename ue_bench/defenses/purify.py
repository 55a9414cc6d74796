"""Diffusion purification by a hacker who has clean images of the domain to train the diffusion model on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ue_bench import Count, Defense, Positive, Range
from ue_bench.defenses._ddpm import MULTIPLES, Diffusion, NoisePredictor
from ue_bench.errors import ConfigError, TrainingError

GREY, NOISE = 0.4, 0.05  # ECLIPSE's share of grey images, and standard deviation of its noise
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Purify(Defense):
    """Diffusion purification as in ECLIPSE: ``purify:4%clean`` is a hacker who has clean versions of 4 % of the images.

    A small diffusion model is trained on these alone; every published image takes some of its steps forward, which
    drowns the noise, and all of them back, once, in 8 bits. The clean images are left out of the victim's training. The
    name says how many there are, because other purifiers need none: ECLIPSE has 2,000, which is 4 % of CIFAR-10.

    improved-diffusion's U-Net and cosine schedule, with ancestral sampling, but the posterior's variance, not a learned
    one. ``augmented`` adds ECLIPSE's grey images and Gaussian noise in every batch; it trains victims for 80 epochs
    without decay. Written from a specification of its code; not measured here at its own size.
    """

    clean: str = ""  # of the training images, those that the hacker has clean: 4%clean; ECLIPSE
    steps: Count = 4000  # of the whole diffusion, cosine schedule; code
    start: Count = 100  # steps forward and back; code
    training_steps: Count = 250_000  # of the diffusion model; code
    only_needed: bool = False  # train for the steps up to start alone, the only ones that are asked for; ours
    batch_size: Count = 128  # images; ours
    learning_rate: Positive = 1e-4  # Adam; ours
    average: Annotated[float, Range(0, below=1)] = 0.9999  # decay of the averaged weights that purify; ours
    width: Annotated[int, Range(4)] = 128  # channels of the first level, a multiple of 4; code
    blocks: Count = 3  # residual blocks of a level; code
    augmented: bool = False  # two fifths grey images and Gaussian noise of 0.05 in every batch; code

    argument: ClassVar[str] = "clean"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "steps": 80,
            "start": 2,
            "training_steps": 4,
            "batch_size": 16,
            "width": 4,
            "blocks": 1,
            "average": 0.5,
        },
        # The same noise in fewer steps, and a model of these alone.
        "quick": {
            "steps": 80,
            "start": 2,
            "training_steps": 300,
            "only_needed": True,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "average": 0.98,
            "width": 16,
            "blocks": 1,
        },
        "laptop": {
            "steps": 400,
            "start": 10,
            "training_steps": 4000,
            "only_needed": True,
            "batch_size": 64,
            "learning_rate": 5e-4,
            "average": 0.999,
            "width": 32,
            "blocks": 1,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clean:
            self._share()
        if self.start > self.steps:
            raise ConfigError(
                f"purify.start must be at most purify.steps, {self.steps}, not {self.start}: say purify.start=1"
            )
        if self.width % 4:
            raise ConfigError(
                f"purify.width must be a multiple of 4, not {self.width}: say purify.width={self.width // 4 * 4}"
            )

    def clean_images(self, count: int) -> int:
        return round(self._share() * count) if self.clean else 0

    def _share(self) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%clean", self.clean)
        if not found or not 0 < float(found[1]) < 100:
            raise ConfigError(
                f"purify:{self.clean} does not say which share of the training images the hacker has clean, above 0 "
                "and below 100 %: say purify:4%clean"
            )
        return float(found[1]) / 100

    def fit_with_clean(
        self, images: Tensor, labels: Tensor, clean: Tensor, generator: torch.Generator
    ) -> Tensor:
        sides = 2 ** (len(MULTIPLES) - 1)
        if any(side % sides for side in images.shape[2:]):
            raise ConfigError(
                f"purify needs images whose sides are multiples of {sides}, not {images.shape[3]} x {images.shape[2]}: "
                "set image_size=32"
            )
        if not len(clean):
            raise ConfigError("purify has no clean images to learn from: say purify:4%clean, or more of them")
        diffusion = Diffusion(self.steps)
        model = self._trained(diffusion, clean, generator)
        found = []
        with torch.no_grad():
            for part in images.split(self.batch_size):
                shown = 2 * part.to(generator.device, torch.float32) / 255 - 1
                pure = diffusion.purified(shown.contiguous(), self.start, model, generator)
                found.append(((pure + 1) / 2 * 255).round().to("cpu", torch.uint8))
        return torch.cat(found)

    def _trained(self, diffusion: Diffusion, clean: Tensor, generator: torch.Generator) -> AveragedModel:
        """The averaged network, trained on uint8 [M, 3, H, W], in evaluation mode."""
        device = generator.device
        seed = int(torch.randint(2**31, (), generator=generator, device=device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = NoisePredictor(self.width, self.blocks, self.steps).to(device)
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.average))
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        last = self.start if self.only_needed else self.steps
        count = min(self.batch_size, len(clean))
        loss = torch.zeros(())
        for step in range(self.training_steps):
            chosen = torch.randint(len(clean), (count,), generator=generator, device=device).cpu()
            shown = 2 * clean[chosen].to(device, torch.float32).contiguous() / 255 - 1
            times = torch.randint(1, last + 1, (count,), generator=generator, device=device)
            noise = torch.empty_like(shown).normal_(generator=generator)
            loss = mse_loss(model(diffusion.noisy(shown, times, noise), times), noise)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            averaged.update_parameters(model)
            if step % 100 == 0 and not bool(loss.isfinite()):
                break
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"purify's diffusion model diverged: lower purify.learning_rate (now {self.learning_rate:g})"
            )
        return averaged.eval()

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not self.augmented:
            return images, targets
        grey = torch.einsum("c,bchw->bhw", torch.tensor(LUMA).to(images), images)[:, None]
        coin = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < GREY
        drawn = torch.empty_like(images).normal_(0, NOISE, generator=generator)
        mixed = (torch.where(coin, grey, images) + drawn).clamp(0, 1)
        return (mixed * 255).round() / 255, targets
