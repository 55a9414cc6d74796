"""Converts a user's images and labels, NumPy arrays or torch tensors, to the harness's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ue_bench.errors import DataError


@dataclass(frozen=True)
class Layout:
    """The form that images were given in, so that results can be returned in the same form.

    Attributes:
        device: the torch tensor's device; None for a NumPy array.
        channels_last: True for [N, H, W, 3], False for [N, 3, H, W].
    """

    device: torch.device | None
    channels_last: bool

    def give_back(self, images: Tensor) -> Any:
        """Converts images, uint8 [N, 3, H, W], to this layout."""
        if self.channels_last:
            images = images.permute(0, 2, 3, 1).contiguous()
        return images.numpy() if self.device is None else images.to(self.device)


def read_images(images: Any) -> tuple[Tensor, Layout]:
    """(uint8 [N, 3, H, W] on the CPU, the layout they were given in). Memory is shared where that is possible.

    Args:
        images: a NumPy array or torch tensor, uint8 [N, 3, H, W] or [N, H, W, 3], 0..255. The channels are the second
            dimension if that is 3, else the last.

    Raises:
        DataError: for anything else; the message says what was given and how to convert it.
    """
    tensor, device = _to_tensor(images, "images")
    allowed = "images are uint8 [N, 3, H, W] or [N, H, W, 3], 0 to 255"
    if tensor.dtype != torch.uint8:
        advice = (
            "round them first: images.round().astype('uint8') for values in 0..255, "
            "(images * 255).round().astype('uint8') for values in 0..1; a tensor has .to(torch.uint8)"
        )
        if not tensor.dtype.is_floating_point:
            advice = "convert them with .astype('uint8') or .to(torch.uint8), if their values lie in 0..255"
        raise DataError(f"{allowed}, not {_kind(images)}: {advice}")
    if tensor.ndim != 4 or 3 not in (tensor.shape[1], tensor.shape[3]):
        raise DataError(f"{allowed}, not of shape {list(tensor.shape)}: {_reshape(tensor)}")
    if 0 in tensor.shape:
        raise DataError(f"{allowed}, not of shape {list(tensor.shape)}: at least one image is needed")
    last = tensor.shape[1] != 3
    return (tensor.permute(0, 3, 1, 2) if last else tensor).contiguous(), Layout(device, last)


def read_labels(labels: Any, count: int) -> Tensor:
    """int64 [count], from a NumPy array, torch tensor or sequence of whole numbers from 0.

    Raises:
        DataError: for anything else.
    """
    if isinstance(labels, Sequence) and not isinstance(labels, str):
        labels = np.asarray(labels)
    tensor, _ = _to_tensor(labels, "labels")
    if tensor.dtype.is_floating_point or tensor.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise DataError(
            f"labels are whole numbers, the class of each image counted from 0, not {_kind(labels)}: convert them with "
            ".astype('int64') or .to(torch.int64)"
        )
    if tensor.shape != (count,):
        raise DataError(f"labels must be of shape [{count}], one per image, not {list(tensor.shape)}")
    tensor = tensor.to(torch.int64)
    if int(tensor.min()) < 0:
        raise DataError(f"labels count classes from 0, but the smallest is {int(tensor.min())}")
    return tensor.contiguous()


def read_captions(captions: Any, count: int) -> tuple[tuple[str, ...], ...]:
    """The captions of each image, from one string or several strings per image.

    Raises:
        DataError: if they are something else, or if their number is not that of the images.
    """
    if isinstance(captions, str) or not hasattr(captions, "__len__"):
        raise DataError(f"captions must be one string, or a list of strings, per image, not {captions!r:.60}")
    if len(captions) != count:
        raise DataError(
            f"{len(captions)} captions for {count} images: give one, or a list of several, per image"
        )
    found = tuple((texts,) if isinstance(texts, str) else tuple(texts) for texts in captions)
    for number, texts in enumerate(found):
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(f"image {number} must have captions in words, not {list(texts)!r:.60}")
    return found


def _to_tensor(values: Any, what: str) -> tuple[Tensor, torch.device | None]:
    """(the values on the CPU, the device of a torch tensor)."""
    if isinstance(values, Tensor):
        return values.detach().cpu(), values.device
    if not isinstance(values, np.ndarray):
        raise DataError(f"{what} must be a NumPy array or a torch tensor, not {type(values).__name__}")
    try:
        array = np.ascontiguousarray(values)
        return torch.from_numpy(array if array.flags.writeable else array.copy()), None
    except TypeError:
        raise DataError(f"{what} must hold numbers, not {_kind(values)}") from None


def _kind(values: Any) -> str:
    return str(getattr(values, "dtype", type(values).__name__)).removeprefix("torch.")


def _reshape(tensor: Tensor) -> str:
    if tensor.ndim == 3 and 3 in (tensor.shape[0], tensor.shape[2]):
        return "put one image into a batch with images[None]"
    if tensor.ndim == 3 or (tensor.ndim == 4 and 1 in (tensor.shape[1], tensor.shape[3])):
        return "repeat grey images in three channels"
    return "bring them into one of these shapes"
