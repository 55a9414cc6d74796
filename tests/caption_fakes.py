"""Fakes of images with captions, in the layouts they come in."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from fakes import encode

NAMES = [f"{number:02}_ab.jpg" for number in range(16)]


def grey_of(name: str) -> int:
    """The level of grey by which a test knows an image again: the number in its name."""
    return int("".join(letter for letter in name if letter.isdigit())[-3:] or 0) % 200 + 10


def write_images(folder: Path, names=NAMES, form: str = "PNG") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(np.full((8, 8, 3), grey_of(name), np.uint8), form))


def write_csv(path: Path, rows, header=("image", "caption")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_kaggle(root: Path, names=NAMES) -> None:
    write_images(root / "Images", names)
    write_csv(root / "captions.txt", [(name, f"{name} , number {k} .") for name in names for k in range(5)])


def write_json(path: Path, images: list[dict], key: str = "images", **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: images, **more}))


def karpathy(name: str, split: str, count: int = 5, **more) -> dict:
    return {
        "filename": name,
        "split": split,
        "sentences": [{"raw": f" {name} {k}\n"} for k in range(count)],
        **more,
    }


def greys(images) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()
