"""From clean images and noise to what a person would publish."""

from __future__ import annotations

import torch
from torch import Tensor

from ue_bench.contracts.perturbation import CHUNK, Perturbation
from ue_bench.errors import PerturbationError


def poison_mask(labels: Tensor | None, count: int, ratio: float, seed: int) -> Tensor:
    """bool [count]: which examples are protected; seeded, class-stratified, nested (20 % lies within 40 %).

    Exactly ``round(count * ratio)`` examples are chosen; every class gives its share, rounded.

    Args:
        labels: int64 [count], or None to draw over all examples alike.
        count: of training examples.
        ratio: share to be protected, 0 to 1.
        seed: the same seed gives nested masks for growing ratios.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = labels if labels is not None else torch.zeros(count, dtype=torch.int64)
    place = torch.empty(count, dtype=torch.float64)
    for group in range(int(groups.max()) + 1):
        members = (groups == group).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=generator).to(torch.float64)
        offset = torch.rand((), generator=generator, dtype=torch.float64)
        place[members] = (order + offset) / max(1, len(members))
    mask = torch.zeros(count, dtype=torch.bool)
    mask[place.argsort(stable=True)[: round(count * ratio)]] = True
    return mask


def publish(images: Tensor, perturbation: Perturbation, mask: Tensor) -> Tensor:
    """uint8 [N, 3, H, W]: ``clip(image + noise, 0, 255)`` where ``mask`` says so, the clean image elsewhere.

    Raises:
        PerturbationError: if the noise of an image that should be protected is zero. (An image whose every pixel
            is saturated in the noise's direction stays as it was; the record's ``changed_images`` counts.)
    """
    published = images.clone()
    chosen = mask.nonzero()[:, 0]
    if perturbation.budget.empty:
        return published
    for start in range(0, len(chosen), CHUNK):
        index = chosen[start : start + CHUNK]
        noise = perturbation.noise[perturbation.rows[index]].to(torch.int16)
        clean = images[index]
        noisy = (clean.to(torch.int16) + noise).clamp_(0, 255).to(torch.uint8)
        silent = ~noise.flatten(1).any(dim=1)
        if bool(silent.any()):
            raise PerturbationError(
                f"{int(silent.sum())} of {len(index)} images that should be protected have no noise, "
                f"the first is image {int(index[silent][0])}"
            )
        published[index] = noisy
    return published
