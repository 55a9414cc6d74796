"""Pictures with captions, as every layout of caption datasets lists them: divided, thinned out, decoded."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ue_bench.data.decode import decode_all
from ue_bench.data.files import File, join, list_folder
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import ConfigError
from ue_bench.seeds import derive

PARTS = ("train", "validation", "test")
OUTSIDE = "it does not lie in the folder of the images"


class Picture(NamedTuple):
    """An image by its name, and what is said of it.

    Attributes:
        name: its path within the folder of images, such as ``val2014/COCO_val2014_000000000042.jpg``.
        captions: in the order of their file, without space around them.
    """

    name: str
    captions: tuple[str, ...]

    @property
    def base(self) -> str:
        """The last part of the name, by which lists of a split call it."""
        return posixpath.basename(self.name)

    def limited(self, count: int | None) -> Picture:
        """The picture with its first ``count`` captions; None: all."""
        return Picture(self.name, self.captions[:count])


Parts = Mapping[str, Sequence[Picture]]


def divide(pictures: Iterable[Picture], train: int, test: int, seed: int) -> Parts:
    """A split by seed: which part an image is in depends on its name and the seed, not on order or path.

    Args:
        pictures: all of them.
        train: images in the training part; what remains is the validation part.
        test: images in the test part.
        seed: another one gives another split.
    """
    pictures = list(pictures)
    names = sorted((each.name for each in pictures), key=lambda name: derive(seed, "split", name))
    part = dict.fromkeys(names, "validation")
    part.update(dict.fromkeys(names[test : test + train], "train"))
    part.update(dict.fromkeys(names[:test], "test"))
    return {name: [each for each in pictures if part[each.name] == name] for name in PARTS}


def choose(count: int, wanted: int | None, seed: int, part: str) -> list[int]:
    """The rows of ``wanted`` images out of ``count``, ascending; a smaller choice lies within a larger one.

    Raises:
        ConfigError: if there are fewer.
    """
    if wanted is None:
        return list(range(count))
    if wanted > count:
        raise ConfigError(
            f"{part}_images is {wanted:,}, but the {part} part has {count:,} images: set it to at most that"
        )
    return sorted(sorted(range(count), key=lambda row: derive(seed, part, row))[:wanted])


def find_images(
    pictures: Iterable[Picture], folders: Sequence[str], faults: list[str], outside: bool = False
) -> list[File]:
    """Each picture's file, in the first folder that has it.

    Every folder is listed once, so that a hundred thousand pictures cost no more than a few listings.

    Args:
        pictures: to be found.
        folders: paths or addresses, the likeliest first.
        faults: gets the names of pictures that are nowhere, or where they may not be.
        outside: whether a name may be an address, an absolute path or one that leaves the folder by ``..``. A file
            of captions from a stranger could otherwise have any file read and any server called.
    """
    listed: dict[str, dict[str, File]] = {}
    found = []
    for picture in pictures:
        if not outside and leads_outside(picture.name):
            faults.append(f"{picture.name} ({OUTSIDE})")
            continue
        for folder in folders:
            name = picture.name if "://" in picture.name else posixpath.normpath(picture.name)
            parent, _, base = join(folder, name).rpartition("/")
            if parent not in listed:
                listed[parent] = list_folder(parent)
            if base in listed[parent]:
                found.append(listed[parent][base])
                break
        else:
            faults.append(f"{picture.name} (no such file)")
    return found


def leads_outside(name: str) -> bool:
    """Whether an image's name may lead out of its folder: an address, an absolute path, or one with ``..``."""
    absolute = re.match(r"[/\\~]|[A-Za-z][\w+.-]*:[/\\]", name)
    above = posixpath.normpath(name.replace("\\", "/")).split("/")[0] == ".."
    return bool(absolute) or above or "://" in name or "::" in name


def decode_pictures(
    pictures: Sequence[Picture], files: Sequence[File], image_size: int | None, source: str
) -> ImageSet:
    """Decodes pictures from their files.

    Raises:
        DataError: naming every one that cannot be decoded.
    """
    payloads = ((picture.name, file.read) for picture, file in zip(pictures, files, strict=True))
    images = decode_all(payloads, len(pictures), image_size, source)
    return ImageSet(images, captions=tuple(picture.captions for picture in pictures))
