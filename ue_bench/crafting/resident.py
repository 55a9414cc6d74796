"""Images and noise that stay on the device that computes with them, if there is room."""

from __future__ import annotations

import torch
from torch import Tensor

Index = slice | Tensor


def places(index: Index, device: torch.device) -> Tensor:
    """int64 [B], on the device: the places that an index names; a slice has both ends."""
    if isinstance(index, slice):
        return torch.arange(index.start, index.stop, device=device)
    return index.to(device)


class ResidentImages:
    """8-bit images on the device, turned into floats a batch at a time.

    Args:
        images: uint8 [N, 3, H, W]; never changed. Copied to an accelerator that has room for them, else read from
            where they are, which may be a file larger than memory.
        device: where ``take`` puts its batches.
    """

    def __init__(self, images: Tensor, device: torch.device):
        self.device = device
        home = home_for(images.numel(), device)
        at_home = images.device.type == home.type == "cpu"
        self._images = images if at_home else images.to(home, memory_format=torch.channels_last)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self._images.shape[2]), int(self._images.shape[3])

    def take(self, index: Index) -> Tensor:
        """float32 [B, 3, H, W] in [0, 1], channels-last, on the device; the caller may change it."""
        batch = self._images[index].to(self.device)
        return batch.to(torch.float32, memory_format=torch.channels_last).div_(255)


def zero_noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """float32 zeros, channels-last: on the device where they fit, else in main memory."""
    size = 4 * torch.Size(shape).numel()
    return torch.zeros(shape, device=home_for(size, device)).contiguous(memory_format=torch.channels_last)


def home_for(size: int, device: torch.device) -> torch.device:
    """The device if ``size`` bytes take at most half of what is free there, else the CPU."""
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] // 2:
        return torch.device("cpu")
    return device
