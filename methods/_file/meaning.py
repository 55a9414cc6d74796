"""Interprets an array as noise: finds its axes, whether it holds images or noise, and its unit; checks that it fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ue_bench import Budget, Perturbation, ProtectorView
from ue_bench.contracts.perturbation import CHUNK, sizes
from ue_bench.errors import DataError, PerturbationError

from .found import Found
from .order import check_order
from .remarks import remarks_on

FEW = 16  # pixels of an image that may change under an l0 budget
LARGEST = 127  # steps of 1/255: no linf budget is larger
SAMPLE = 512  # images that are compared to decide whether an array holds images or noise


@dataclass(frozen=True)
class Meaning:
    """An array, interpreted as noise for a training set.

    Attributes:
        perturbation: checked; its budget is the measured one or the one that the user set.
        granularity: class, image or pair.
        facts: what was found, for the record.
        remarks: sentences to print under the table.
    """

    perturbation: Perturbation
    granularity: str
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def understand(found: Found, view: ProtectorView, holds: str, unit: str, budget: Budget) -> Meaning:
    """Interprets an array as noise for a training set.

    Args:
        found: the array.
        holds: ``noise`` or ``images``; "": decided by the values.
        unit: the unit of floats: ``range``, ``steps``, or "" for range.
        budget: ``none`` takes the one that is measured.

    Raises:
        DataError: if shape, size, count, order or range do not fit.
        PerturbationError: if the noise is constant, or exceeds a budget that the user set.
    """
    channels_last = _layout(found, view.image_size)
    granularity, rows = _rows(found, view)
    _check_finite(found)
    scale = _scale(found, unit)
    images = _holds_images(found, view, holds, scale, channels_last)
    if images and granularity != "image":
        raise DataError(
            f"{found.describe()} holds images, but {len(found.array)} for {len(view.images)} of the data"
        )
    noise = _noise(found, view, images, scale, channels_last)
    used = noise[rows.unique()] if len(noise) < len(rows) else noise
    largest = int(used.abs().max())
    if largest == 0:
        what = "the images equal the clean ones" if images else "all noise is zero"
        raise DataError(f"{found.describe()} protects nothing: {what}. Name the protected ones")
    up, down = bool((used > 0).any()), bool((used < 0).any())
    signs = "both" if up and down else ("positive" if up else "negative")
    if budget.norm == "none":
        budget = _measured(used, largest)
    silent = ~noise.flatten(1).any(dim=1)[rows]
    perturbation = Perturbation(
        noise, rows, Budget(budget.norm, budget.radius, signs), partial=bool(silent.any())
    )
    try:
        perturbation.check(view.examples, view.image_size)
    except PerturbationError as error:
        raise PerturbationError(f"{found.describe()}: {error}") from None
    facts = {
        "source": found.source,
        "shape": list(found.array.shape),
        "dtype": str(found.array.dtype),
        "holds": "images" if images else "noise",
        "matched": found.matched or f"by {granularity}",
        "linf": largest,
        "l2": float(sizes(used[: CHUNK * 4], "l2").max()),
    }
    remarks = remarks_on(noise, rows, silent, signs, view if images else None)
    return Meaning(perturbation, granularity, facts, [f"{found.source}: {each}" for each in remarks])


def _measured(noise: Tensor, largest: int) -> Budget:
    """The budget that noise keeps: linf, where it may be one; else l0 if few pixels change; else none.

    Args:
        noise: int8 or int16 [R, 3, H, W].
        largest: its linf norm.
    """
    if largest <= LARGEST:
        return Budget("linf", largest)
    pixels = int(max(float(sizes(chunk, "l0").max()) for chunk in noise.split(CHUNK)))
    return Budget("l0", pixels) if pixels <= FEW else Budget("none")


def _layout(found: Found, image_size: tuple[int, int]) -> bool:
    """True if the channels come last."""
    shape = tuple(found.array.shape)
    height, width = image_size
    wanted = f"[R, 3, {height}, {width}] or [R, {height}, {width}, 3]"
    if found.array.dtype.kind not in "fiu":
        raise DataError(f"{found.describe()} does not hold numbers: needed are floats or integers, {wanted}")
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise DataError(f"{found.describe()} is no array of RGB images or noise: needed is {wanted}")
    if shape[1:] == (3, height, width):
        return False
    if shape[1:] == (height, width, 3):
        return True
    size = shape[2:] if shape[1] == 3 else shape[1:3]
    square = f"image_size={size[0]}, or " if size[0] == size[1] else ""
    raise DataError(
        f"{found.describe()} is for images of {size[0]}x{size[1]} pixels, the training images are {height}x{width}: "
        f"say {square}a dataset of that size. Nothing is resized, because that would change the noise"
    )


def _rows(found: Found, view: ProtectorView) -> tuple[str, Tensor]:
    """(granularity, int64 [examples])."""
    count, images = len(found.array), len(view.images)
    if found.rows is not None:
        if len(found.rows) != view.examples or found.rows.min() < 0 or found.rows.max() >= count:
            raise DataError(
                f"{found.describe()} comes with {len(found.rows)} rows, from {found.rows.min()} to {found.rows.max()}; "
                f"needed are {view.examples}, from 0 to {count - 1}"
            )
        rows = torch.from_numpy(found.rows.astype(np.int64))
        return {images: "image", view.examples: "pair"}.get(count, "class"), rows
    if count == images:
        return "image", view.rows("image")
    if view.paradigm == "contrastive" and count == view.examples:
        return "pair", view.rows("pair")
    if view.paradigm == "supervised" and count == view.classes:
        return "class", view.rows("class")
    other = f"{view.examples} pairs" if view.paradigm == "contrastive" else f"{view.classes} classes"
    raise DataError(
        f"{found.describe()} has {count} entries, but the training set has {images} images and {other}: needed is one "
        "for each image or each " + other.split()[1].removesuffix("s").removesuffix("e")
    )


def _check_finite(found: Found) -> None:
    if found.array.dtype.kind != "f":
        return
    for start in range(0, len(found.array), CHUNK):
        chunk = np.asarray(found.array[start : start + CHUNK])
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise DataError(f"{found.describe()} is not finite: entry {row} holds NaN or infinity")


def _scale(found: Found, unit: str) -> float:
    """The factor that converts a value to steps of 1/255."""
    low, high = float(found.array.min()), float(found.array.max())
    if found.array.dtype.kind != "f" or unit == "steps":
        if low < -255 or high > 255:
            raise DataError(f"{found.describe()} runs from {low:g} to {high:g}: allowed are -255 to 255")
        return 1.0
    if low < -1 or high > 1:
        raise DataError(
            f"{found.describe()} runs from {low:.4g} to {high:.4g}: floats are noise from -1 to 1, or images from 0 to "
            "1, of the pixel range. If they are images from 0 to 255, or noise in steps of 1/255, say file.unit=steps"
        )
    return 255.0


def _holds_images(found: Found, view: ProtectorView, holds: str, scale: float, channels_last: bool) -> bool:
    """Whether the values are protected images: as the user says, else if nearer to the clean images than to 0."""
    if holds:
        return holds == "images"
    if found.matched:
        return True
    if len(found.array) != len(view.images) or float(found.array.min()) < 0:
        return False
    places = torch.linspace(0, len(view.images) - 1, min(SAMPLE, len(view.images))).long()
    values = _steps(found.array[places.numpy()], scale, channels_last)
    return bool((values - view.images[places]).abs().float().mean() < values.abs().float().mean())


def _noise(found: Found, view: ProtectorView, images: bool, scale: float, channels_last: bool) -> Tensor:
    """int8 or int16 [R, 3, H, W], steps of 1/255."""
    height, width = view.image_size
    noise = torch.empty((len(found.array), 3, height, width), dtype=torch.int16)
    for start in range(0, len(noise), CHUNK):
        values = _steps(found.array[start : start + CHUNK], scale, channels_last)
        if images and int(values.min()) < 0:
            raise DataError(
                f"{found.describe()} holds values below 0, so it holds no images: say file.holds=noise"
            )
        noise[start : start + CHUNK] = values - view.images[start : start + CHUNK] if images else values
    if images:
        check_order(found, noise, view.images)
    elif found.array.dtype.kind == "u" and int(noise.max()) > 127:
        raise DataError(
            f"{found.describe()} holds noise up to {int(noise.max())} without a sign: negative values that were saved "
            "as uint8 have wrapped round. Save it as int8"
        )
    return noise.to(torch.int8) if int(noise.abs().max()) <= 127 else noise


def _steps(values: Any, scale: float, channels_last: bool) -> Tensor:
    """int16, channels first, rounded to nearest."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = np.rint(array.astype(np.float64) * scale)
    tensor = torch.from_numpy(array.astype(np.int16))
    return tensor.permute(0, 3, 1, 2).contiguous() if channels_last else tensor
