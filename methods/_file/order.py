"""Checks, by their distance, that protected images are in the order of the clean images."""

from __future__ import annotations

import torch
from torch import Tensor

from ue_bench.contracts.perturbation import CHUNK
from ue_bench.errors import DataError

from .found import Found

ALIKE = 0.5  # least correlation with the clean image that shows a rewritten picture to be in its place
FAR = 32  # mean distance from the clean image in steps of 1/255; the field's largest budgets allow half of it
THUMBNAIL = 8  # side in pixels at which the clean image of a misplaced one is looked for


def check_order(found: Found, noise: Tensor, clean: Tensor) -> None:
    """Raises DataError if images are farther from the clean images at the same places than any budget allows.

    Pictures that were rewritten, such as brightened and blurred ones, may lie as far if they still look like them.
    """
    far = torch.cat([chunk.abs().flatten(1).float().mean(dim=1) for chunk in noise.split(CHUNK)])
    suspects = (far > FAR).nonzero()[:, 0].tolist()
    wrong = [index for index in suspects if not _alike(noise[index], clean[index])]
    if not wrong:
        return
    first = wrong[0]
    published = (clean[first].to(torch.int16) + noise[first]).float()
    small = torch.nn.functional.adaptive_avg_pool2d
    thumbs = torch.cat([small(chunk.float(), THUMBNAIL) for chunk in clean.split(CHUNK)])
    nearest = int((thumbs - small(published, THUMBNAIL)).abs().flatten(1).mean(dim=1).argmin())
    gap = float((clean[nearest].float() - published).abs().mean())
    if nearest != first and gap <= FAR:
        reason = (
            f"Image {first} fits the clean image {nearest} ({gap:.1f} steps), so they stand in another order"
        )
    else:
        reason = f"Image {first} fits no clean image, so they are of other data"
    raise DataError(
        f"{found.describe()}: {len(wrong)} of {len(noise)} images lie {float(far[wrong].mean()):.0f} steps of 1/255 "
        f"on average from the clean image of their place, far beyond any budget. {reason}: put them into the training "
        "set's order, or call them as the clean ones are called"
    )


def _alike(noise: torch.Tensor, clean: torch.Tensor) -> bool:
    """Whether a published picture, the clean one plus noise, correlates with the clean one."""
    pictures = torch.stack([clean.flatten().float(), (clean.to(torch.int16) + noise).flatten().float()])
    return bool(torch.corrcoef(pictures)[0, 1] >= ALIKE)
