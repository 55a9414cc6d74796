"""The loop that a user would otherwise write: images transformed one by one in two processes, fp32, contiguous."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ue_bench.clock import synchronise
from ue_bench.data.imageset import ImageSet

WORKERS = 2


class Samples(torch.utils.data.Dataset):
    """One image at a time: float [3, H, W] in [0, 1], cropped with a border of 4 pixels and flipped, and its label."""

    def __init__(self, data: ImageSet):
        from torchvision.transforms import v2  # here, because it takes a second

        assert data.labels is not None
        self.images, self.labels = data.images.permute(0, 2, 3, 1).numpy(), data.labels.tolist()
        self.transform = v2.Compose(
            [
                v2.ToPILImage(),
                v2.RandomCrop(data.image_size, padding=4),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class OrdinaryLoop:
    """Epochs with SGD behind a DataLoader, whose processes stay from one epoch to the next.

    Args:
        model: on the device, in contiguous memory format.
        data: with labels; batches that are not full are left out.
    """

    def __init__(self, model: nn.Module, data: ImageSet, batch_size: int, device: torch.device):
        self.model, self.device = model.train(), device
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
        self.loader: Any = torch.utils.data.DataLoader(
            Samples(data),
            batch_size=batch_size,
            shuffle=True,
            num_workers=WORKERS,
            drop_last=True,
            persistent_workers=True,
        )

    def epoch(self) -> float:
        """Images a second of one epoch, from its start to its last step."""
        start, count = time.perf_counter(), 0
        for images, labels in self._batches():
            loss = functional.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            count += len(images)
        synchronise(self.device)
        return count / (time.perf_counter() - start)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.loader:
            yield images.to(self.device), labels.to(self.device)
