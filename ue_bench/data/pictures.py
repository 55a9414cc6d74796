"""Pictures with captions, whatever the dataset's layout: divides them into parts, draws subsets, decodes them."""

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
OUTSIDE = "it lies outside the folder of the images"


class Picture(NamedTuple):
    """The name of an image, and its captions.

    Attributes:
        name: the image's path within the folder of images, such as ``val2014/COCO_val2014_000000000042.jpg``.
        captions: in the order of their file, stripped.
    """

    name: str
    captions: tuple[str, ...]

    @property
    def base(self) -> str:
        """The last part of the name, which is the image's name in lists of a split."""
        return posixpath.basename(self.name)

    def limited(self, count: int | None) -> Picture:
        """The picture with its first ``count`` captions; None keeps all."""
        return Picture(self.name, self.captions[:count])


Parts = Mapping[str, Sequence[Picture]]


def divide(pictures: Iterable[Picture], train: int, test: int, seed: int) -> Parts:
    """Draws a split: which part an image is in depends on its name and the seed, not on order or path.

    Args:
        pictures: all pictures of the dataset.
        train: images in the training part; the remaining images are the validation part.
        test: images in the test part.
        seed: another seed gives another split.
    """
    pictures = list(pictures)
    names = sorted((each.name for each in pictures), key=lambda name: derive(seed, "split", name))
    part = dict.fromkeys(names, "validation")
    part.update(dict.fromkeys(names[test : test + train], "train"))
    part.update(dict.fromkeys(names[:test], "test"))
    return {name: [each for each in pictures if part[each.name] == name] for name in PARTS}


def choose(count: int, wanted: int | None, seed: int, part: str) -> list[int]:
    """The rows of ``wanted`` images drawn from ``count``, ascending; a smaller choice is a subset of a larger one.

    Raises:
        ConfigError: if there are fewer images.
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

    Every folder is listed once, so that a hundred thousand pictures cost only a few listings.

    Args:
        pictures: the pictures to find.
        folders: paths or addresses, the likeliest first.
        faults: the names of pictures that are missing, or that lead outside, are appended to it.
        outside: whether a name may be an address, an absolute path or a path that leaves the folder by ``..``. If so, a
            stranger's file of captions can make ue-bench read any file and connect to any server.
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
    """Whether an image's name may lead out of its folder: an address, an absolute path, or a path with ``..``."""
    absolute = re.match(r"[/\\~]|[A-Za-z][\w+.-]*:[/\\]", name)
    above = posixpath.normpath(name.replace("\\", "/")).split("/")[0] == ".."
    return bool(absolute) or above or "://" in name or "::" in name


def decode_pictures(
    pictures: Sequence[Picture], files: Sequence[File], image_size: int | None, source: str
) -> ImageSet:
    """Decodes pictures from their files.

    Raises:
        DataError: naming every picture that cannot be decoded.
    """
    payloads = ((picture.name, file.read) for picture, file in zip(pictures, files, strict=True))
    images = decode_all(payloads, len(pictures), image_size, source)
    return ImageSet(images, captions=tuple(picture.captions for picture in pictures))
