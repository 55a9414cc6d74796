"""Random mirroring and cropping of every image by itself, and its transpose, which takes gradients back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Moves:
    """One draw of flips and crops for a batch.

    A move only copies values, so the gradient of any loss by the images before it is the transpose of the move,
    applied to the gradient by the images after it.

    Attributes:
        mirrored: bool [B].
        down, right: int64 [B], 0 to ``2 * padding``: where the window begins in the padded image.
        padding: pixels of zeros around the image.
    """

    mirrored: Tensor
    down: Tensor
    right: Tensor
    padding: int

    @classmethod
    def draw(cls, count: int, padding: int, flip: bool, generator: torch.Generator) -> Moves:
        """Moves for so many images, on the generator's device."""
        device = generator.device
        down, right = torch.randint(2 * padding + 1, (2, count), generator=generator, device=device)
        mirrored = torch.rand(count, generator=generator, device=device) < (0.5 if flip else 0.0)
        return cls(mirrored, down, right, padding)

    def __call__(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] -> the same: mirrored, then cropped."""
        return self._crop(self._mirror(images), self.down, self.right)

    def back(self, gradient: Tensor) -> Tensor:
        """The transpose: float [B, 3, H, W] -> the same; what was outside the image is zero."""
        far = 2 * self.padding
        return self._mirror(self._crop(gradient, far - self.down, far - self.right))

    def _mirror(self, images: Tensor) -> Tensor:
        return torch.where(self.mirrored[:, None, None, None], images.flip(3), images)

    def _crop(self, images: Tensor, down: Tensor, right: Tensor) -> Tensor:
        if self.padding == 0:
            return images
        height, width = images.shape[2:]
        device = images.device
        padded = pad(images, [self.padding] * 4).permute(0, 2, 3, 1)
        numbers = torch.arange(len(images), device=device)[:, None, None]
        rows = (down[:, None] + torch.arange(height, device=device))[:, :, None]
        columns = (right[:, None] + torch.arange(width, device=device))[:, None, :]
        return padded[numbers, rows, columns].permute(0, 3, 1, 2)
