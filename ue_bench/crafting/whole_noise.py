"""Noise under optimisation that is stored in one byte per value, because noise for many pairs is large."""

from __future__ import annotations

import torch
from torch import Tensor

from ue_bench.crafting.resident import home_for
from ue_bench.data.room import allocate
from ue_bench.errors import ConfigError, DataError

LARGEST = 127  # steps of 1/255 that a byte can hold


class WholeNoise:
    """Noise that starts from zero and is stored in whole steps of 1/255.

    It is on the device if it takes at most half of the free memory there, else in main memory or a file. A walk whose
    step size is a whole number of steps loses nothing between rounds; other noise is rounded.

    Args:
        count: how many noises there are.
        size: (height, width) in pixels.
        radius: linf bound, steps of 1/255.
        device: where ``take`` puts its batches.

    Attributes:
        steps: int8 [count, 3, H, W].

    Raises:
        ConfigError: for a radius that a byte cannot hold.
        DataError: if there is no room.
    """

    def __init__(self, count: int, size: tuple[int, int], radius: float, device: torch.device):
        if radius > LARGEST:
            raise ConfigError(
                f"noise of {radius:g} steps of 1/255 does not fit in a byte: {LARGEST} is the most here"
            )
        self.device = device
        shape = (count, 3, *size)
        home = home_for(torch.Size(shape).numel(), device)
        if home.type == "cpu":
            self.steps = new_noise(count, size).zero_()
        else:
            self.steps = torch.zeros(shape, dtype=torch.int8, device=home)

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, rows: Tensor) -> Tensor:
        """float32 [B, 3, H, W], [0, 1] pixel units, channels-last, on the device; the caller may change it."""
        batch = self.steps[rows.to(self.steps.device)].to(self.device)
        return batch.to(torch.float32, memory_format=torch.channels_last).div_(255)

    def put(self, rows: Tensor, delta: Tensor) -> None:
        """Stores ``delta``, float [B, 3, H, W] in [0, 1] pixel units, at ``rows`` (int64 [B], without repeats)."""
        home = self.steps.device
        self.steps[rows.to(home)] = (delta * 255).round_().to(torch.int8).to(home)


def new_noise(count: int, size: tuple[int, int], most_steps: float = LARGEST) -> Tensor:
    """int8 or int16 [count, 3, H, W], not initialised: in main memory, or in a mapped file if it is large.

    Args:
        count: how many noises there are.
        size: (height, width) in pixels.
        most_steps: the most steps of 1/255 that a value may have, which decides how many bytes it takes.

    Raises:
        DataError: if there is no room.
    """
    height, width = size
    dtype = torch.int8 if most_steps <= LARGEST else torch.int16
    try:
        return allocate(count, height, width * dtype.itemsize).view(dtype)
    except DataError as error:
        raise DataError(f"no room for the noise: {error}") from error
