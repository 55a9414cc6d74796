"""Writes pictures to files without loss: completely or not at all, and read back for comparison."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from ue_bench.publish.pictures import OUTPUTS, Picture, Refused
from ue_bench.publish.pixels import crop, strips


def write_picture(picture: Picture, target: Path, form: str) -> None:
    """Writes a picture without loss: to a temporary name, read back and compared, then renamed.

    Raises:
        OSError: if it cannot be written.
        Refused: if the file that is read back differs from the picture.
    """
    options: dict[str, Any] = {"icc_profile": picture.icc, "exif": picture.exif or b""}
    if form == "webp":
        options |= {"lossless": True, "quality": 60}  # quality means effort here
        options["exact"] = True  # keeps the colours of transparent pixels
    else:
        information = PngImagePlugin.PngInfo()
        for name, content in picture.chunks:
            information.add(name, content)
        options["pnginfo"] = information
    with write_whole(target) as file:
        picture.image.save(file, form.upper(), **options)
        file.flush()
        fault = find_difference(picture, Path(file.name), form)
        if fault:
            raise Refused(f"the written file differs from the picture ({fault}): check the disk")


@contextlib.contextmanager
def write_whole(target: Path) -> Iterator[BinaryIO]:
    """Yields a file to write; it appears under its name when it is complete, and not at all if anything fails."""
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def find_difference(picture: Picture, path: Path, form: str) -> str:
    """How a file differs from ``picture`` in format, size, pixels, profile or EXIF, or "" if it does not."""
    image = picture.image
    try:
        with _opened_anyhow(path) as there:
            if there.format != form.upper():
                return f"it is {there.format}"
            if there.size != image.size:
                return f"it is {there.width}x{there.height} pixels"
            there.load()
            if (there.info.get("icc_profile") or None) != picture.icc:
                return "another colour profile"
            if _bare(there.info.get("exif")) != _bare(picture.exif):
                return "other EXIF data"
            if form == "webp" and (there.mode, image.mode) == ("RGB", "RGBA"):
                there = there.convert(image.mode)  # WebP drops an alpha channel that is opaque everywhere
            for top, bottom in strips(image):
                if not np.array_equal(crop(there, top, bottom), crop(image, top, bottom)):
                    return "other pixels"
    except Exception as error:  # decoders raise almost anything on damaged files
        return f"it cannot be read: {' '.join(str(error).split())[:120] or type(error).__name__}"
    return ""


@contextlib.contextmanager
def _opened_anyhow(path: Path) -> Iterator[Image.Image]:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the size was checked before
    try:
        with Image.open(path, formats=[form.upper() for form in OUTPUTS]) as image:
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _bare(exif: bytes | None) -> bytes:
    return (exif or b"").removeprefix(b"Exif\x00\x00")


def explain(error: OSError) -> str:
    """The system's reason for an error, in words."""
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return error.strerror or " ".join(str(error).split())[:120] or type(error).__name__
