"""Checks, by their distance, that protected images are in the order of the clean images."""

from __future__ import annotations

import torch
from torch import Tensor

from ue_bench.contracts.perturbation import CHUNK
from ue_bench.errors import DataError

from .found import Found

FAR = 32  # mean distance from the clean image in steps of 1/255; the field's largest budgets allow half of it
THUMBNAIL = 8  # side in pixels at which the clean image of a misplaced one is looked for


def check_order(found: Found, noise: Tensor, clean: Tensor) -> None:
    """Raises DataError if images are farther from the clean images at the same places than any budget allows."""
    far = torch.cat([chunk.abs().flatten(1).float().mean(dim=1) for chunk in noise.split(CHUNK)])
    wrong = (far > FAR).nonzero()[:, 0]
    if not len(wrong):
        return
    first = int(wrong[0])
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
