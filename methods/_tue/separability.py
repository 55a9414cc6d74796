"""Measures how far apart the noises of different classes are, and how similar those of one class are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

TINY = 1e-5  # added to spread and distance, as in TUE's code


def class_separability(noise: Tensor, labels: Tensor, classes: int, detach_spread: bool = True) -> Tensor:
    """TUE's classwise separability discriminant: small for tight classes that lie far apart.

    It is the mean over ordered pairs of classes of (spread + spread) / distance. A class's spread is the mean distance
    of its noises to their centre; the distance is that of the two centres. Distances are Euclidean over all values.

    Args:
        noise: float [B, C, H, W], or any [B, D, ...].
        labels: int64 [B]; classes without noise are left out.
        detach_spread: the gradient takes spreads as constants, so it only pushes centres apart (TUE's code).

    Returns:
        float32 scalar; 0 if there are fewer than two classes.

    Example: two classes at -1 +- 1 and 3 +- 0 (one value each) have spreads 1 and 0, distance 4: 1 / 4.
    """
    flat = noise.movedim(1, -1).flatten(1)  # a view if channels are last; order does not matter
    members = functional.one_hot(labels, classes).to(flat.dtype)
    counts = members.sum(dim=0)
    centres = (members.T @ flat) / counts.clamp_min(1)[:, None]
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_spread):
        distances = torch.linalg.vector_norm(flat - members @ centres, dim=1)
        spreads = (distances @ members) / counts.clamp_min(1)
    # A matrix product needs no memory of [classes, classes, values]; float64, because squares are subtracted.
    middle = (centres - centres.mean(dim=0)).to(torch.float64)
    products = middle @ middle.T
    lengths = products.diagonal()
    squares = lengths[:, None] + lengths[None, :] - 2 * products
    present = counts > 0
    pairs = present[:, None] & present[None, :] & ~torch.eye(classes, dtype=torch.bool, device=noise.device)
    apart = torch.where(pairs, squares, 1).clamp_min(1e-20).sqrt()
    ratios = (spreads[:, None] + spreads[None, :] + TINY) / (apart + TINY)
    return (torch.where(pairs, ratios, 0).sum() / pairs.sum().clamp_min(1)).to(torch.float32)


def sign_agreement(noise: Tensor, labels: Tensor, classes: int, chunk: int = 4096) -> float:
    """The share of values whose sign is that of most noises of their class, on average; 1 if all agree.

    Args:
        noise: [N, ...].
        labels: int64 [N].
    """
    sums = torch.zeros((classes, noise[0].numel()))
    for part, label in zip(noise.split(chunk), labels.split(chunk), strict=True):
        signs = part.flatten(1).to("cpu", torch.float32).sign()
        sums += functional.one_hot(label.cpu(), classes).to(torch.float32).T @ signs
    return float((1 + sums.abs().sum() / noise.numel()) / 2)
