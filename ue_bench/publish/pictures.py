"""Reads a picture from a file, in a form to which noise can be added and that keeps its look."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ue_bench.data.decode import PIXELS, TooManyPixels, open_image

OUTPUTS = ("png", "webp")
EXIF = ("strip", "keep")
WEBP_SIDE = 16383

_FOREIGN = {  # pictures that Pillow does not read, or of which it would read only a small preview
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys(
        (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2"), "a camera's raw format"
    ),
    **dict.fromkeys((".psd", ".xcf", ".svg", ".jxl", ".jp2"), "a format that is not read here"),
}
_USUAL = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif")
_KEPT = ("RGB", "RGBA", "L", "LA", "I;16")
# What exif=keep keeps. The rest describes the old file, or may hold a small unprotected copy of the picture: the
# thumbnail, and makers' notes.
_EXIF_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x4746, 0x8298, *range(0x9C9B, 0x9CA0))
_EXIF_PARTS, _EXIF_DROPPED = (
    (0x8769, 0x8825),
    (0x927C, 0xA005),
)  # camera and place; maker's note, interoperability


class Refused(Exception):
    """A picture cannot be protected, or a file is no picture; the message says why."""


@dataclass
class Picture:
    """A picture, upright, in a mode to which noise can be added and that a file can store.

    Attributes:
        image: the pixels, in mode RGB, RGBA, L, LA or I;16.
        icc: its colour profile, or None.
        exif: the EXIF data that is kept, or None.
        chunks: the PNG chunks on which its look depends.
        notes: what was changed apart from the noise, in words.
    """

    image: Image.Image
    icc: bytes | None = None
    exif: bytes | None = None
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def looks_like_a_picture(path: Path) -> bool:
    """Whether the file's extension is one that pictures have."""
    return path.suffix.lower() in (*_USUAL, *_FOREIGN)


@contextlib.contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Opens the file with Pillow without decoding its pixels; raises Refused if it cannot be decoded."""
    if path.suffix.lower() in _FOREIGN:
        raise Refused(f"{_FOREIGN[path.suffix.lower()]}: export it as PNG, JPEG, WebP or TIFF first")
    if path.stat().st_size == 0:
        raise Refused("an empty file")
    limit, Image.MAX_IMAGE_PIXELS = (
        Image.MAX_IMAGE_PIXELS,
        None,
    )  # the same check follows, with a clear message
    try:
        with open_image(path, max_pixels) as image:
            if image.format == "PPM":
                raise Refused("PPM may hold more than 8 bits per colour: export it as PNG first")
            yield image
    except TooManyPixels as error:
        raise Refused(f"{error}; if it is yours, say max_pixels={error.pixels}") from None
    except UnidentifiedImageError:
        raise Refused("a broken picture" if looks_like_a_picture(path) else "not a picture") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def is_picture(path: Path) -> bool:
    """Whether a file can be opened as a picture or has a picture's extension; its pixels are not read."""
    try:
        with _opened(path, PIXELS):
            return True
    except Refused:
        return looks_like_a_picture(path)


def open_picture(path: Path, exif: str, form: str, max_pixels: int = PIXELS) -> Picture:
    """Reads a picture in the form in which it will be written.

    The EXIF orientation is applied to the pixels. Palette, 1-bit, CMYK and YCbCr pictures are converted; colours that
    stand for transparency become an alpha channel; 16-bit grey stays 16-bit.

    Args:
        path: a local file.
        exif: ``strip`` or ``keep``.
        form: ``png`` or ``webp``, the format in which it will be written.
        max_pixels: the most pixels; larger pictures are refused.

    Raises:
        Refused: if it is no picture, is broken, or would lose something; the message says why.
    """
    with _opened(path, max_pixels) as image:
        try:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                raise Refused(f"{frames} pages or frames: save the ones to protect as single pictures")
            _check_depth(image, path)
            image.load()
        except Exception as error:  # decoders raise almost anything on damaged files
            if isinstance(error, Refused):
                raise
            raise Refused(f"a broken picture ({_reason(error)})") from error
        picture = Picture(image)
        if frames > 1:
            picture.notes.append(f"the first of {frames} pictures in the file; the others are not kept")
        picture.icc = image.info.get("icc_profile") or None
        picture.chunks = [] if picture.icc else _look(image.info)
        if exif == "keep":
            picture.exif = _keep_exif(image, picture.notes)
        try:
            ImageOps.exif_transpose(image, in_place=True)
        except Exception as error:  # EXIF comes from thirty years of cameras and may break in any way
            picture.notes.append(
                f"its EXIF is damaged: if the picture lies on its side, turn it ({_reason(error)})"
            )
        picture.image = _convert(image, picture)
    if form == "webp":
        _fit_webp(picture)
    picture.image.info = {}  # nothing is written that is not asked for
    return picture


def _check_depth(image: Image.Image, path: Path) -> None:
    """Raises Refused for pictures of 16 bits per colour, which Pillow cuts to 8 bits silently."""
    if image.mode.startswith(("I", "F")):
        return
    bits = [8]
    if image.format == "PNG":
        with open(path, "rb") as file:
            bits = [file.read(25)[24]]
    elif image.format == "TIFF":
        bits = list(image.tag_v2.get(258, (8,)))  # type: ignore[attr-defined]
    if max(bits) > 8:
        raise Refused(
            f"{max(bits)} bits per colour, of which only 8 could be kept: save it with 8 bits first"
        )


def _convert(image: Image.Image, picture: Picture) -> Image.Image:
    mode, clear = image.mode, image.has_transparency_data
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        if clear:
            raise Refused(
                "16-bit grey with a transparent shade: save it with 8 bits or an alpha channel first"
            )
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    if mode == "CMYK":
        return _convert_cmyk(image, picture)
    target = {"P": "RGBA" if clear else "RGB", "PA": "RGBA", "1": "LA" if clear else "L", "YCbCr": "RGB"}.get(
        mode
    )
    if mode in ("L", "RGB") and clear:
        target = "LA" if mode == "L" else "RGBA"
    if target:
        name = {"P": "palette", "PA": "palette", "1": "1-bit"}.get(mode, mode)
        picture.notes.append(f"{name} converted to {target}")
        return image.convert(target)
    if mode not in _KEPT:
        raise Refused(f"pixels of the kind {mode} cannot be kept: save it as RGB or grey with 8 bits first")
    return image.copy()


def _convert_cmyk(image: Image.Image, picture: Picture) -> Image.Image:
    """Converts CMYK to RGB, by the picture's own profile if it has one that works."""
    profile, picture.icc = picture.icc, None  # it describes inks, not RGB
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                picture.notes.append("CMYK converted to sRGB by its profile")
                return converted
        except (ImportError, OSError, ImageCms.PyCMSError):
            pass  # converted below, as without a profile
    picture.notes.append("CMYK converted to RGB without a profile: colours may look different")
    return image.convert("RGB")


def _fit_webp(picture: Picture) -> None:
    mode = picture.image.mode
    if mode == "I;16":
        raise Refused("WebP cannot keep 16 bits: say format=png")
    if max(picture.image.size) > WEBP_SIDE:
        raise Refused(f"WebP pictures have sides of at most {WEBP_SIDE} pixels: say format=png")
    if mode in ("L", "LA"):
        picture.image = picture.image.convert("RGB" if mode == "L" else "RGBA")
        picture.notes.append("WebP has no grey mode: stored as equal red, green and blue")
    if picture.chunks:
        picture.notes.append("WebP does not keep a PNG's gamma: colours may look different")


def _keep_exif(image: Image.Image, notes: list[str]) -> bytes | None:
    try:
        found, kept = image.getexif(), Image.Exif()
        for tag in _EXIF_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for part in _EXIF_PARTS:
            inner = {tag: value for tag, value in found.get_ifd(part).items() if tag not in _EXIF_DROPPED}
            if inner:
                kept[part] = inner
        return kept.tobytes() if len(kept) else None
    except Exception as error:
        notes.append(f"its EXIF is damaged and was not kept ({_reason(error)})")
        return None


def _look(info: dict[Any, Any]) -> list[tuple[bytes, bytes]]:
    """The PNG chunks that define the colours of a picture without a profile."""
    if "srgb" in info:
        return [(b"sRGB", bytes([info["srgb"]]))]
    chunks = []
    if info.get("gamma"):
        chunks.append((b"gAMA", struct.pack(">I", round(info["gamma"] * 100000))))
    if len(info.get("chromaticity", ())) == 8:
        chunks.append(
            (b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in info["chromaticity"])))
        )
    return chunks


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
