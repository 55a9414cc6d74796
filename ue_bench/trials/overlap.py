"""Finds whether the public data that a method learned from contains the data that it protects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ue_bench.canonical import digest
from ue_bench.data.imageset import ImageSet, Split

CAPTIONS_ALIKE = 0.01  # share of captions above which it is no accident that two sets have them in common


def key_of(facts: Mapping[str, Any]) -> str:
    """The key under which the hashes of a public training set are kept."""
    return digest(["public data", facts["train_fingerprint"]])


def hashes(data: ImageSet, pixels: bool = True) -> dict[str, Tensor]:
    """``images`` and ``captions``, int64, sorted: 64-bit hashes of each image's 8-bit pixels and each caption's words.

    Words are compared without regard to case, spaces and a full stop at the end. Without ``pixels``, which take a
    pass over all of them, ``images`` is empty.
    """
    shown = (image.contiguous().numpy().tobytes() for image in (data.images if pixels else ()))
    return {"images": _hashed(shown), "captions": caption_hashes(data.captions or ())}


def caption_hashes(captions: Iterable[Iterable[str]]) -> Tensor:
    """int64, sorted: a hash of each caption's words, as in ``hashes``."""
    words = (" ".join(text.lower().split()).rstrip(" .").encode() for texts in captions for text in texts)
    return _hashed(words)


def told_of_captions(facts: Mapping[str, Any], public: Mapping[str, Tensor], captions: Tensor) -> str | None:
    """A warning if captions (their hashes) are in a public training set more often than by accident, or None."""
    share = _share(captions, public["captions"])
    if not share or share <= CAPTIONS_ALIKE:
        return None
    return (
        f"the method learned from public data ({facts['dataset']}) that holds {100 * share:.3g} % of these captions: "
        "if the pictures are in it too, they have been seen"
    )


def compare(
    facts: Mapping[str, Any], public: Mapping[str, Tensor], dataset: str, split: Split
) -> tuple[dict[str, Any], str | None]:
    """Compares a public training set with the data of a trial: (facts with shares, a warning or None).

    Images are compared pixel by pixel, so only where both are decoded at one size; captions always. Other copies of
    an image (resized, compressed) are not found.

    Args:
        facts: about the public data, as ``Context.load_public`` kept them.
        public: its ``hashes``.
        dataset: the name of the data to be protected.
        split: that data.

    Returns:
        Facts with, for ``train`` and ``test``, ``images_shared`` (None where sizes differ) and ``captions_shared``,
        shares of what is to be protected or tested on, 0 to 1. Sets of one name are one dataset unless their pixels
        were compared and no image for training is in both.
    """
    same_size = facts["image_size"] is not None and split.train.image_size == (facts["image_size"],) * 2
    parts: dict[str, dict[str, float | None]] = {}
    for name, part in (("train", split.train), ("test", split.test)):
        own = hashes(part, pixels=same_size)
        parts[name] = {
            "images_shared": _share(own["images"], public["images"]),
            "captions_shared": _share(own["captions"], public["captions"]),
        }
    equal = facts["train_fingerprint"] in (split.train.fingerprint, split.test.fingerprint)
    found = []
    if equal:
        found.append("they are the same data")
    elif facts["dataset"] == dataset and parts["train"]["images_shared"] != 0:
        found.append("they are one dataset")
    for name, shares in parts.items():
        images, captions = shares["images_shared"], shares["captions_shared"]
        found += [f"{100 * images:.3g} % of the {name} images are in it"] if images else []
        if captions and captions > CAPTIONS_ALIKE:
            found.append(f"{100 * captions:.3g} % of the {name} captions are in it")
    warning = None
    if found:
        warning = f"the method learned from public data ({facts['dataset']}) that overlaps with {dataset}: "
        warning += "; ".join(found)
    return {**facts, "overlap": parts}, warning


def _share(own: Tensor, public: Tensor) -> float | None:
    """How many of ``own`` are in ``public``, 0 to 1; None if there are none."""
    return float(torch.isin(own, public).double().mean()) if len(own) and len(public) else None


def _hashed(contents: Iterable[bytes]) -> Tensor:
    values = [
        int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
        for content in contents
    ]
    return torch.tensor(values, dtype=torch.int64).sort().values
