"""Noise in whole steps of 1/255: which example gets which noise, and the promises that the noise must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ue_bench.contracts.budget import Budget
from ue_bench.data.arrays import read_images
from ue_bench.errors import DataError, PerturbationError

CHUNK = 4096
SPARE_NOISES = 1000  # a small training set may have more classes than examples


@dataclass(frozen=True, eq=False)
class Perturbation:
    """The noise that a method returns and a store keeps. Class-wise, image-wise and pair-wise noise differ by ``rows``.

    Attributes:
        noise: int8 (int16 where needed) [R, 3, H, W], steps of 1/255 of the pixel range.
        rows: int64 [examples], 0..R-1: the noise that each training example gets.
        budget: the norm and radius that every row keeps.
        triggers: for each example the words put before its caption, or None.
        trigger_tokens: int64 [examples, length], the same as token ids, or None.
        partial: True if noise of zero is allowed: its publisher left these examples unchanged, or what a method makes
            of an image is the image itself.
    """

    noise: Tensor
    rows: Tensor
    budget: Budget
    triggers: tuple[str, ...] | None = None
    trigger_tokens: Tensor | None = None
    partial: bool = False

    @classmethod
    def from_float(cls, delta: Tensor, rows: Tensor, budget: Budget, floor: bool = False) -> Perturbation:
        """Rounds float noise [R, 3, H, W] in [0, 1] pixel units to whole steps within ``budget``."""
        return cls(noise=quantise(delta, budget, floor), rows=rows, budget=budget)

    def __repr__(self) -> str:
        kind = str(self.noise.dtype).removeprefix("torch.")
        return f"Perturbation(noise={kind} {list(self.noise.shape)}, rows=[{len(self.rows)}], budget={self.budget})"

    def apply(self, images: Any) -> Any:
        """The protected images: ``clip(image + noise, 0, 255)`` in 8 bits, as every victim of a benchmark gets them.

        Args:
            images: one for each row, in the order in which the noise was made for them: a NumPy array or torch tensor,
                uint8 [N, 3, H, W] or [N, H, W, 3], 0..255. They stay as they are.

        Returns:
            The same kind of array, in the same layout, on the same device.

        Raises:
            DataError: if they are of another kind, number or size than the noise is for.
            PerturbationError: if the noise of an image is zero.
        """
        tensor, layout = read_images(images)
        if len(tensor) != len(self.rows):
            raise DataError(
                f"{len(tensor)} images for noise of {len(self.rows)} examples: give the images that it was made for "
                "in their order; noise of (image, caption) pairs has one example for each pair"
            )
        if tensor.shape[1:] != self.noise.shape[1:]:
            sizes = ["x".join(map(str, shape[2:])) for shape in (tensor.shape, self.noise.shape)]
            raise DataError(f"the images are {sizes[0]} pixels, the noise {sizes[1]}: resize the images")
        return layout.give_back(self.added_to(tensor, torch.arange(len(tensor))))

    def added_to(self, images: Tensor, chosen: Tensor) -> Tensor:
        """uint8 [N, 3, H, W]: images with noise added to the ``chosen`` ones, int64, and the others as they are.

        Raises:
            PerturbationError: if the noise of a chosen image is zero.
        """
        published = images.clone()
        if self.budget.empty:
            return published
        for index in chosen.split(CHUNK):
            noise = self.noise[self.rows[index]]
            silent = ~noise.flatten(1).any(dim=1)
            if bool(silent.any()) and not self.partial:
                raise PerturbationError(
                    f"{int(silent.sum())} of {len(index)} images that should be protected have no noise, "
                    f"the first is image {int(index[silent][0])}"
                )
            published[index] = add_noise(images[index], noise)
        return published

    def check(self, examples: int, image_size: tuple[int, int], promised: Budget | None = None) -> None:
        """Raises PerturbationError unless every promise is kept for this many examples of this size.

        Args:
            examples: of the training set.
            image_size: (height, width) in pixels.
            promised: what the method declares, ``Method.promised_budget``; the noise is measured against it as well
                as against its own ``budget``.
        """
        noise, rows = self.noise, self.rows
        if noise.dtype not in (torch.int8, torch.int16):
            raise PerturbationError(f"noise must be int8 or int16 steps of 1/255, not {noise.dtype}")
        if noise.ndim != 4 or tuple(noise.shape[1:]) != (3, *image_size) or len(noise) == 0:
            raise PerturbationError(
                f"noise must be [R, 3, {image_size[0]}, {image_size[1]}], not {list(noise.shape)}"
            )
        if rows.dtype != torch.int64 or rows.shape != (examples,):
            raise PerturbationError(f"rows must be int64 [{examples}], not {rows.dtype} {list(rows.shape)}")
        if int(rows.min()) < 0 or int(rows.max()) >= len(noise):
            raise PerturbationError(
                f"rows point to noise {int(rows.max())}, but there are {len(noise)} noises"
            )
        if self.triggers is not None and len(self.triggers) != examples:
            raise PerturbationError(f"{len(self.triggers)} triggers for {examples} examples")
        if len(noise) > max(examples, SPARE_NOISES):
            raise PerturbationError(
                f"there are {len(noise)} noises for {examples} examples: return only those that 'rows' points to"
            )
        used = noise[rows.unique()] if len(noise) <= CHUNK else noise
        for budget in dict.fromkeys((self.budget, promised or self.budget)):
            _check_values(used, budget, self.partial)


def _check_values(noise: Tensor, budget: Budget, partial: bool) -> None:
    if budget.empty:
        if bool(noise.any()):
            raise PerturbationError("the budget allows no noise, but some of it is not zero")
        return
    positive = negative = False
    at_once = _at_once(noise)
    for start in range(0, len(noise), at_once):
        chunk = noise[start : start + at_once]
        worst, row = sizes(chunk, budget.norm).max(dim=0)
        if float(worst) > budget.radius * (1 + 1e-6):
            raise PerturbationError(
                f"noise {start + int(row)} measures {float(worst):.4g} in {budget.norm}, "
                f"over its budget of {budget.radius:g}"
            )
        flat = chunk.flatten(1)
        constant = (flat == flat[:, :1]).all(dim=1)
        if partial:
            constant &= flat[:, 0] != 0
        if bool(constant.any()):
            index = int(constant.nonzero()[0, 0])
            raise PerturbationError(f"noise {start + index} is constant ({int(flat[index, 0])} everywhere)")
        positive, negative = positive or bool((chunk > 0).any()), negative or bool((chunk < 0).any())
    # A pixel that is set to a colour, or a picture that is rewritten, may become brighter or darker throughout.
    if budget.signs == "both" and budget.norm in ("linf", "l2") and not (positive and negative):
        raise PerturbationError(
            "noise has one sign only: its positive or negative half was lost before it was saved"
        )
    if (budget.signs == "positive" and negative) or (budget.signs == "negative" and positive):
        raise PerturbationError(f"noise is declared {budget.signs} only, but has both signs")


def add_noise(images: Tensor, noise: Tensor) -> Tensor:
    """uint8 [B, 3, H, W]: ``clip(image + noise, 0, 255)`` of images, uint8, and noise in whole steps of 1/255."""
    return (images.to(torch.int16) + noise.to(torch.int16)).clamp_(0, 255).to(torch.uint8)


def sizes(noise: Tensor, norm: str) -> Tensor:
    """float64 [R]: each noise's size: steps of 1/255 (linf, none), [0, 1] units (l2), changed pixels (l0)."""
    flat = noise.flatten(1).to(torch.float64)
    if norm == "l2":
        return flat.norm(dim=1) / 255
    if norm == "l0":
        return (noise != 0).any(dim=1).flatten(1).sum(dim=1).to(torch.float64)
    return flat.abs().amax(dim=1) if norm == "linf" else torch.zeros(len(flat), dtype=torch.float64)


def quantise(delta: Tensor, budget: Budget, floor: bool = False) -> Tensor:
    """Float noise to whole steps of 1/255, to nearest, so that what is published keeps the budget exactly.

    Rounding can lift an L2 norm over its radius by a fraction of a percent; such rows are scaled down by that
    fraction and rounded again. ``floor`` is for options that reproduce the authors' code: it lowers every value by half
    a step on average.

    Args:
        delta: float [R, 3, H, W], [0, 1] pixel units.
        budget: the norm and radius; linf noise is clamped to it.

    Returns:
        int8 [R, 3, H, W], or int16 if a value leaves int8's range.

    Raises:
        PerturbationError: if a value is not finite.
    """
    if len(delta) == 0:
        return torch.zeros(delta.shape, dtype=torch.int8)
    at_once = _at_once(delta)
    parts = [_quantise(delta[at : at + at_once], budget, floor) for at in range(0, len(delta), at_once)]
    whole = torch.cat(parts)
    return whole.to(torch.int8) if int(whole.abs().max()) <= 127 else whole


def _at_once(noise: Tensor) -> int:
    """How many rows are checked at once: their 64-bit copies take about 256 MB."""
    return max(1, min(CHUNK, 2**25 // max(1, noise[0].numel())))


def _quantise(delta: Tensor, budget: Budget, floor: bool) -> Tensor:
    values = delta.detach().to("cpu", torch.float64) * 255
    finite = values.isfinite().flatten(1).all(dim=1)
    if not bool(finite.all()):
        raise PerturbationError(f"noise {int((~finite).nonzero()[0, 0])} is not finite (NaN or infinity)")
    if floor:
        whole = values.floor()
    else:
        whole = values.round()
        if budget.norm == "l2" and not budget.empty:
            values = (
                values * (budget.radius / sizes(values, "l2").clamp_min(budget.radius))[:, None, None, None]
            )
            whole = values.round()
            over = sizes(whole, "l2") > budget.radius
            while bool(over.any()):
                excess = sizes(whole[over], "l2") / budget.radius
                values[over] /= (excess * 1.0001)[:, None, None, None]
                whole[over] = values[over].round()
                over = sizes(whole, "l2") > budget.radius
    if budget.norm == "linf":
        whole = whole.clamp(-budget.radius, budget.radius)
    return whole.clamp(-255, 255).to(torch.int16)
