"""Decodes image files into one uint8 array; an error names every image that cannot be decoded, none is skipped."""

from __future__ import annotations

import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ue_bench.data.room import allocate
from ue_bench.errors import ConfigError, DataError, some

# The only formats that Pillow may read. Its readers of some others start programs (EPS passes PostScript to gs).
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "PPM")
PIXELS = 178_956_970  # the most in one picture: Pillow's own limit against files that would fill the memory

Payload = bytes | None | Callable[[], bytes]
_CHUNK = 1024  # encoded images held in memory at once


class TooManyPixels(Image.DecompressionBombError):
    """An image so large that decoding it could fill the memory."""

    def __init__(self, size: tuple[int, int], limit: int):
        self.pixels = size[0] * size[1]
        super().__init__(
            f"{size[0]}x{size[1]} are {self.pixels:,} pixels, more than {limit:,}: such files can be made to fill "
            "the memory"
        )


def open_image(file: BinaryIO | Path, max_pixels: int = PIXELS) -> Image.Image:
    """Opens a file with Pillow if it is in one of FORMATS; its pixels are not decoded yet.

    Raises:
        UnidentifiedImageError: if it is in none of these formats.
        TooManyPixels: if it has more than ``max_pixels``.
    """
    Image.init()
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    if image.width * image.height > max_pixels:
        image.close()
        raise TooManyPixels(image.size, max_pixels)
    return image


def decode_image(data: bytes, image_size: int | None = None) -> np.ndarray:
    """Decodes one image file, applies its EXIF orientation, converts it to RGB, and makes it square if a size is given.

    Grey, palette and CMYK images are converted, transparent pixels become white, 16-bit grey is scaled to 8 bits, and
    of an animation the first frame is used. Colour profiles are not applied.

    Args:
        data: the content of a PNG, JPEG, WebP, ... file.
        image_size: side in pixels (see ``fit_square``), or None: as stored.

    Returns:
        uint8 [3, H, W], 0..255.
    """
    with open_image(io.BytesIO(data)) as opened:
        sixteen_bits = opened.mode.startswith("I;16") or (
            opened.mode == "I" and opened.format in ("PNG", "PPM")
        )
        image = ImageOps.exif_transpose(opened)
        if sixteen_bits:
            image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
        image = _to_rgb(image)
    if image_size is not None:
        image = fit_square(image, image_size)
    return np.asarray(image).transpose(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no fixed range; store 8 or 16 bits per channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fit_square(image: Image.Image, side: int) -> Image.Image:
    """Resizes the shorter side to ``side`` (antialiased bicubic), then cuts out the central square.

    An image that is already ``side`` pixels square is returned unchanged. The pixels are the same as with torchvision's
    Resize and CenterCrop, with which CLIP models are trained.
    """
    if image.size == (side, side):
        return image
    shorter = min(image.size)
    width, height = (int(side * length / shorter) for length in image.size)
    left, top = (round((length - side) / 2) for length in (width, height))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + side, top + side))


def resize_all(images: Tensor, image_size: int | None) -> Tensor:
    """``fit_square`` for arrays.

    Args:
        images: uint8 [N, 3, H, W].
        image_size: side in pixels, or None: as stored.

    Returns:
        uint8 [N, 3, image_size, image_size], contiguous.
    """
    check_image_size(image_size)
    if image_size is None or tuple(images.shape[2:]) == (image_size, image_size):
        return images.contiguous()
    resized = torch.empty((len(images), 3, image_size, image_size), dtype=torch.uint8)
    for row, pixels in zip(resized.numpy(), images.numpy(), strict=True):
        square = fit_square(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))), image_size)
        row[:] = np.asarray(square).transpose(2, 0, 1)
    return resized


def decode_all(
    payloads: Iterable[tuple[str, Payload]], count: int, image_size: int | None, source: str
) -> Tensor:
    """Decodes ``count`` images into one array, several at a time.

    Args:
        payloads: for each image, its name in errors (``row 7``), and its encoded bytes or a function that reads them.
        count: the number of payloads.
        image_size: side in pixels, or None: as stored; then all images must have one size.
        source: the name of the whole in errors.

    Returns:
        uint8 [count, 3, H, W], 0..255; in a file rather than in memory if it is large (see ``allocate``).

    Raises:
        DataError: naming every image that cannot be decoded (the first ten, and how many).
    """
    check_image_size(image_size)
    images: Tensor | None = None
    faults: list[str] = []
    sizes: dict[tuple[int, int], str] = {}  # (width, height) -> the name of an image of that size
    payloads = iter(payloads)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, count, _CHUNK):
            chunk = list(itertools.islice(payloads, _CHUNK))
            decoded = pool.map(lambda item: _attempt(item[1], image_size), chunk)
            for index, ((name, _), pixels) in enumerate(zip(chunk, decoded, strict=True), start):
                if isinstance(pixels, str):
                    faults.append(f"{name} ({pixels})")
                    continue
                sizes.setdefault((pixels.shape[2], pixels.shape[1]), name)
                if len(sizes) == 1:
                    if images is None:
                        images = allocate(count, *pixels.shape[1:])
                        rows = images.numpy()
                    rows[index] = pixels
            if len(sizes) > 1:
                break
    if faults:
        raise faulty(faults, count, "images", source, "replace or remove these images; none is skipped")
    if len(sizes) > 1:
        some = ", ".join(f"{w}x{h} ({name})" for (w, h), name in itertools.islice(sizes.items(), 4))
        raise DataError(
            f"the images of {source} have several sizes, such as {some}; all must have one. "
            "Set image_size= to a side in pixels, and every image is resized and cut to that square"
        )
    if images is None:
        raise DataError(f"{source} holds no image; at least one is needed: check the path")
    return images


def _attempt(payload: Payload, image_size: int | None) -> np.ndarray | str:
    """The pixels, or the reason why the image cannot be decoded."""
    try:
        data = payload() if callable(payload) else payload
        return decode_image(data, image_size) if data else "no bytes"
    except Exception as error:  # decoders raise almost anything on damaged files
        reason = re.sub(r" ?<_io.BytesIO object at \w+>", "", " ".join(str(error).split()))
        return reason[:120] or type(error).__name__


def faulty(faults: Sequence[str], count: int, what: str, source: str, advice: str) -> DataError:
    """The error for some of ``count`` images, labels or captions that cannot be used."""
    return DataError(f"{len(faults)} of {count} {what} of {source} cannot be used: {some(faults)}. {advice}")


def check_image_size(image_size: int | None) -> None:
    """ConfigError unless it is None or a positive number of pixels."""
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is {image_size}; it must be 1 or more pixels, or left out")
