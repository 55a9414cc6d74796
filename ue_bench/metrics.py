"""Measures of noise as published: its size, visibility and balance of signs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CHUNK = 500
SSIM_IMAGES = 1000


def noise_measures(clean: Tensor, published: Tensor) -> dict[str, float | int]:
    """Measures the difference of published from clean images, over the images that changed.

    Args:
        clean: uint8 [N, 3, H, W].
        published: uint8 [N, 3, H, W].

    Returns:
        ``linf``: largest change of any value, in steps of 1/255. ``l2``, ``l2_max``: mean and largest L2 norm of
        an image's change, [0, 1] units. ``psnr_db``: mean over images. ``ssim``: mean over the first SSIM_IMAGES
        changed images (NaN below 11 pixels). ``positive_share``, ``negative_share``: shares of all values in
        changed images that went up or down. ``changed_images``, ``examples``: counts.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    changed = (clean != published).flatten(1).any(dim=1).nonzero()[:, 0]
    sums = dict.fromkeys(("l2", "psnr", "up", "down", "ssim"), 0.0)
    linf, l2_max, ssim_images = 0, 0.0, 0
    for start in range(0, len(changed), CHUNK):
        index = changed[start : start + CHUNK]
        before, after = clean[index], published[index]
        step = after.to(torch.int16) - before.to(torch.int16)
        square = step.flatten(1).to(torch.float64).square()
        l2 = square.sum(dim=1).sqrt() / 255
        linf, l2_max = max(linf, int(step.abs().max())), max(l2_max, float(l2.max()))
        sums["l2"] += float(l2.sum())
        sums["psnr"] += float((20 * math.log10(255) - 10 * square.mean(dim=1).log10()).sum())
        sums["up"] += float((step > 0).sum())
        sums["down"] += float((step < 0).sum())
        if ssim_images < SSIM_IMAGES and min(clean.shape[2:]) >= 11:
            value = structural_similarity_index_measure(
                after.to(torch.float32), before.to(torch.float32), data_range=255.0, reduction="sum"
            )
            sums["ssim"] += float(torch.as_tensor(value))
            ssim_images += len(index)
    count = len(changed)
    values = count * clean[0].numel()
    return {
        "linf": linf,
        "l2": sums["l2"] / count if count else 0.0,
        "l2_max": l2_max,
        "psnr_db": sums["psnr"] / count if count else math.inf,
        "ssim": sums["ssim"] / ssim_images if ssim_images else math.nan,
        "positive_share": sums["up"] / values if count else 0.0,
        "negative_share": sums["down"] / values if count else 0.0,
        "changed_images": count,
        "examples": len(clean),
    }
