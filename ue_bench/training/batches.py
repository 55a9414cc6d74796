"""Device-resident images, cropped and flipped a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ue_bench.data.imageset import ImageSet


class Batches:
    """Shuffled training batches without a Python loop over images.

    Images lie on the device as they are given, channels-last, with their zero border around them; a random crop is a
    window into that memory.

    Args:
        images: uint8 [N, 3, H, W], or float32 on the same scale.
        batch_size: images; the last, smaller batch of an epoch is left out unless it is the only one.
        padding: pixels of zeros around each image for random crops; 0 for none.
        flip: mirror each image with probability one half.
        seed: for order, crops and flips.
    """

    def __init__(
        self, images: Tensor, batch_size: int, padding: int, flip: bool, device: torch.device, seed: int
    ):
        self.count, self.flip, self.device = len(images), flip, device
        self.batch_size = min(batch_size, self.count)
        self.order = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(device).manual_seed(seed)
        height, width = images.shape[2:]
        border = (0, 0, padding, padding, padding, padding)
        last = torch.nn.functional.pad(images.permute(0, 2, 3, 1).to(device), border).contiguous()
        image, line, pixel, channel = last.stride()
        self.positions = 2 * padding + 1
        shape = (self.count, self.positions, self.positions, height, width, 3)
        self.windows = last.as_strided(shape, (image, line, pixel, line, pixel, channel))

    def __len__(self) -> int:
        return self.count // self.batch_size

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields (images, index): float [B, 3, H, W] in [0, 1], channels-last; int64 [B] on the device."""
        for index in self.shuffle():
            yield self.take(index), index

    def shuffle(self) -> list[Tensor]:
        """The next epoch's batches, each int64 [B] on the device."""
        order = torch.randperm(self.count, generator=self.order).to(self.device)
        return list(order[: len(self) * self.batch_size].split(self.batch_size))

    def generators(self) -> dict[str, torch.Generator]:
        """All that is random here, by name."""
        return {"order": self.order, "draws": self.generator}

    def take(self, index: Tensor) -> Tensor:
        """float [B, 3, H, W] in [0, 1]: a freshly cropped and flipped copy of these images."""
        size = (2, len(index))
        y, x = torch.randint(self.positions, size, generator=self.generator, device=self.device)
        images = self.windows[index, y, x]
        if self.flip:
            mirrored = torch.rand(len(index), generator=self.generator, device=self.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        return images.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def resident(data: ImageSet, device: torch.device) -> ImageSet:
    """The same images and labels in the device's memory, so that evaluations after each epoch copy nothing."""
    if device.type == "cpu" or data.labels is None:
        return data
    return ImageSet(data.images.to(device), data.labels.to(device), class_names=data.class_names)


def plain_batches(images: Tensor, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Images in order, without augmentation: float [B, 3, H, W] in [0, 1], channels-last, on the device."""
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].to(device, non_blocking=True)
        yield batch.to(torch.float32, memory_format=torch.channels_last).div_(255)
