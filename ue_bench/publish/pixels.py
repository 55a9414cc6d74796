"""Adds noise to the pixels of a picture, strip by strip, so that a huge picture needs little further memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

STRIP = 1 << 20  # pixels processed at once
_COLOURS = {"L": 1, "LA": 1, "I;16": 1}  # number of channels that get noise; 3 in other modes


@dataclass(frozen=True)
class Change:
    """How far a picture's colours were changed.

    Attributes:
        largest: the largest change, in steps of 1/255.
        psnr_db: PSNR in decibels; infinite if nothing changed.
    """

    largest: float
    psnr_db: float


def add_noise(image: Image.Image, noise: np.ndarray) -> Change:
    """Replaces ``image`` by clip(image + noise, 0, 255), in place and strip by strip; alpha is not changed.

    Noise of another size is stretched by nearest neighbour, so its values stay whole steps. A grey picture, by its
    mode or because red, green and blue are equal everywhere, stays grey: it gets the mean of the noise's three
    channels, rounded to nearest. In a 16-bit picture a step is 257.

    Args:
        image: mode RGB, RGBA, L, LA or I;16.
        noise: int8 or int16 [3, h, w], steps of 1/255.

    Returns:
        The change of the picture.
    """
    (width, height), channels = image.size, _COLOURS.get(image.mode, 3)
    steps = np.asarray(noise).astype(np.int32)
    if channels == 1 or _is_grey(image):
        steps = np.rint(steps.mean(axis=0, keepdims=True)).astype(np.int32)
    unit = 257 if image.mode == "I;16" else 1
    rows = np.arange(height) * steps.shape[1] // height
    columns = np.arange(width) * steps.shape[2] // width
    largest, squares = 0, 0
    for top, bottom in strips(image):
        pixels = crop(image, top, bottom).copy()
        before = pixels[..., :channels].astype(np.int32)
        step = steps[:, rows[top:bottom]][:, :, columns].transpose(1, 2, 0) * unit
        change = np.clip(before + step, 0, 255 * unit) - before
        pixels[..., :channels] = (before + change).astype(pixels.dtype)
        image.paste(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), (0, top))
        largest = max(largest, int(np.abs(change).max()))
        squares += int(np.square(change, dtype=np.int64).sum())
    mean_square = squares / (width * height * channels * unit**2)
    return Change(largest / unit, 10 * math.log10(255**2 / mean_square) if squares else math.inf)


def _is_grey(image: Image.Image) -> bool:
    parts = (crop(image, top, bottom)[..., :3] for top, bottom in strips(image))
    return all(bool((pixels == pixels[..., :1]).all()) for pixels in parts)


def strips(image: Image.Image) -> Iterator[tuple[int, int]]:
    """Yields (first row, row after the last) of strips of at most STRIP pixels, and of at least one row."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)


def crop(image: Image.Image, top: int, bottom: int) -> np.ndarray:
    """A strip of the image as an array [rows, width, channels]."""
    pixels = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels if pixels.ndim == 3 else pixels[..., None]
