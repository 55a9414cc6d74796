"""Makes the training set as a person would publish it, from clean images and noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ue_bench.contracts.perturbation import CHUNK, Perturbation, add_noise
from ue_bench.data.imageset import ImageSet
from ue_bench.data.strata import stratified
from ue_bench.errors import PerturbationError
from ue_bench.metrics import noise_measures
from ue_bench.training.pairs import Pairs

SAMPLE = 2000  # pairs that are measured
THIN = 8  # every eighth line of pixels is enough, nearly always, to see that a noise changed a picture
FEW = 256  # pairs whose every pixel is compared at once


def poison_mask(labels: Tensor | None, count: int, ratio: float, seed: int) -> Tensor:
    """bool [count]: which examples are protected; seeded, class-stratified, nested (20 % lies within 40 %).

    Exactly ``round(count * ratio)`` examples are chosen; every class gives its share, rounded.

    Args:
        labels: int64 [count], or None to draw over all examples alike.
        count: of training examples.
        ratio: share to be protected, 0 to 1.
        seed: the same seed gives nested masks for growing ratios.
    """
    place = stratified(labels, count, seed)
    mask = torch.zeros(count, dtype=torch.bool)
    mask[place.argsort(stable=True)[: round(count * ratio)]] = True
    return mask


def publish(images: Tensor, perturbation: Perturbation, mask: Tensor) -> Tensor:
    """uint8 [N, 3, H, W]: ``clip(image + noise, 0, 255)`` where ``mask`` says so, the clean image elsewhere.

    Raises:
        PerturbationError: if the noise of an image that should be protected is zero. (An image whose every pixel
            is saturated in the noise's direction stays as it was; the record's ``changed_images`` counts.)
    """
    return perturbation.added_to(images, mask.nonzero()[:, 0])


def publish_pairs(
    clean: ImageSet, perturbation: Perturbation, mask: Tensor
) -> tuple[Pairs, dict[str, float | int]]:
    """(image, caption) pairs as published: all pairs of an image that ``mask`` chooses get their noise and trigger.

    Nothing is written out: five captions an image would mean five copies of it.

    Args:
        clean: with captions.
        perturbation: one row of noise for each pair.
        mask: bool [N], over images.

    Returns:
        The pairs, and the measures of ``ue_bench.metrics`` over at most SAMPLE of the protected pairs
        (``measured_examples``). ``changed_images`` counts images all of whose pairs changed; ``examples`` are pairs.

    Raises:
        PerturbationError: if the noise of a pair that should be protected is zero.
    """
    before = Pairs.of(clean)
    pairs = replace(
        before,
        noise=perturbation.noise,
        rows=perturbation.rows,
        protected=mask[before.image_of_pair],
        triggers=perturbation.triggers,
        trigger_tokens=perturbation.trigger_tokens,
    )
    assert pairs.protected is not None
    chosen = pairs.protected.nonzero()[:, 0]
    stayed = pairs.image_of_pair[_unchanged(pairs, chosen, perturbation.partial)].unique()
    sample = chosen[torch.linspace(0, len(chosen) - 1, min(len(chosen), SAMPLE)).long()]
    measures = noise_measures(before.published(sample), pairs.published(sample))
    counts = {"changed_images": int(mask.sum()) - len(stayed), "examples": len(pairs)}
    return pairs, {**measures, **counts, "measured_examples": len(sample)}


def _unchanged(pairs: Pairs, chosen: Tensor, partial: bool) -> Tensor:
    """int64: the pairs that are unchanged.

    Either every pixel is saturated in the noise's direction, or they have no noise where that is allowed (``partial``).
    """
    assert pairs.noise is not None and pairs.rows is not None
    images, noise = pairs.images[:, :, ::THIN], pairs.noise[:, :, ::THIN]
    suspects = []
    for index in chosen.split(CHUNK):
        thin = images[pairs.image_of_pair[index]]
        suspects.append(index[(add_noise(thin, noise[pairs.rows[index]]) == thin).flatten(1).all(dim=1)])
    found = [torch.empty(0, dtype=torch.int64)]
    for index in torch.cat([*found, *suspects]).split(FEW):
        whole, clean = pairs.noise[pairs.rows[index]], pairs.images[pairs.image_of_pair[index]]
        silent = ~whole.flatten(1).any(dim=1)
        if bool(silent.any()) and not partial:
            first = int(index[silent][0])
            raise PerturbationError(
                f"{int(silent.sum())} of {len(index)} pairs that should be protected have no noise, the first is pair "
                f"{first}, of image {int(pairs.image_of_pair[first])}"
            )
        found.append(index[(add_noise(clean, whole) == clean).flatten(1).all(dim=1)])
    return torch.cat(found)
