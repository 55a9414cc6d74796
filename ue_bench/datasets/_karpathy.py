"""Captions in JSON: Karpathy's splits of Flickr8k, Flickr30k and MS-COCO, and COCO's own annotations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ue_bench.data.files import File, read_text
from ue_bench.data.pictures import PARTS, Parts, Picture
from ue_bench.errors import DataError

PART_OF = {  # words for the parts of a dataset
    "train": "train",
    "restval": "train",
    "val": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


def read_karpathy(file: File, faults: list[str]) -> Parts:
    """The pictures in a file such as dataset_flickr8k.json, in its order.

    ``images[].split`` is train, restval (which counts as train), val or test; ``filepath``, where there is
    one, is the folder of ``filename``; the captions are ``sentences[].raw``.

    Args:
        file: the file to read.
        faults: descriptions of images that cannot be used are appended to it.

    Raises:
        DataError: if the file is not of this form.
    """
    parts: dict[str, list[Picture]] = {part: [] for part in PARTS}
    seen: set[str] = set()
    (images,) = _read_lists(file, "images")
    for number, image in enumerate(images):
        try:
            name = "/".join(filter(None, (image.get("filepath", ""), image["filename"])))
            captions = tuple(sentence["raw"].strip() for sentence in image["sentences"])
            part = PART_OF.get(image["split"])
        except (KeyError, TypeError, AttributeError) as error:
            faults.append(f"image {number} ({type(error).__name__}: {error})")
            continue
        if part is None:
            faults.append(f"{name} (split {image['split']!r}; allowed are {', '.join(PART_OF)})")
        elif not captions or not all(captions):
            faults.append(f"{name} (no text)")
        elif name in seen:
            faults.append(f"{name} (listed twice)")
        else:
            parts[part].append(Picture(name, captions))
        seen.add(name)
    return parts


def read_annotations(files: Sequence[File], faults: list[str]) -> list[Picture]:
    """The pictures in files such as annotations/captions_train2014.json, in the order of ``images``.

    A picture's folder is the last part of the file's name (train2014); its captions are in the order of
    ``annotations``.

    Args:
        files: the files to read, one after the other.
        faults: descriptions of images and captions that cannot be used are appended to it.

    Raises:
        DataError: if a file is not of this form.
    """
    pictures = []
    for file in files:
        folder = file.name.removesuffix(".json").rpartition("_")[2]
        texts: dict[Any, list[str]] = {}
        images, annotations = _read_lists(file, "images", "annotations")
        for number, entry in enumerate(annotations):
            try:
                texts.setdefault(entry["image_id"], []).append(entry["caption"].strip())
            except (KeyError, TypeError, AttributeError) as error:
                faults.append(f"annotation {number} of {file.name} ({type(error).__name__}: {error})")
        for number, image in enumerate(images):
            try:
                name, captions = f"{folder}/{image['file_name']}", tuple(texts.get(image["id"], ()))
            except (KeyError, TypeError) as error:
                faults.append(f"image {number} of {file.name} ({type(error).__name__}: {error})")
                continue
            if captions and all(captions):
                pictures.append(Picture(name, captions))
            else:
                faults.append(f"{name} (no text)")
    return pictures


def _read_lists(file: File, *keys: str) -> list[list[Any]]:
    """The lists under these keys in a JSON file."""
    try:
        content = json.loads(read_text(file))
    except ValueError as error:
        raise DataError(
            f"'{file.path}' is no whole JSON file ({error}): copy or download it again"
        ) from error
    lists = [content.get(key) if isinstance(content, dict) else None for key in keys]
    for key, entries in zip(keys, lists, strict=True):
        if not isinstance(entries, list) or not entries:
            raise DataError(
                f"'{file.path}' has no list '{key}', or an empty one; a file of captions has the lists "
                f"{' and '.join(keys)}: check that it is the right one"
            )
    return lists  # type: ignore[return-value]
