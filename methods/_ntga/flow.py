"""What an infinitely wide network predicts after some time of gradient descent, and that prediction's gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

RIDGE = 1e-4  # on the kernel's diagonal, as a share of the diagonal's mean; NTGA's code
VALUES_AT_ONCE = 2**23  # pairs of images and places of which a kernel is computed at once
NEAR = (
    1e-4  # eigenvalues this close, relative to their scale, take the slope and not a quotient of differences
)

Kernel = Callable[[Tensor, Tensor], Tensor]


class Flow:
    """Gradient flow on the squared error of a training set, from a network whose output is zero.

    Attributes:
        weights: float [N, classes]; the prediction of images is their kernel to the training set times these.
    """

    def __init__(self, kernel: Tensor, targets: Tensor, time: float):
        """Solves the flow.

        Args:
            kernel: float [N, N], symmetric, of the training set with itself.
            targets: float [N, classes].
            time: steps of gradient descent of rate 1 on the mean over all N * classes errors; half of their squares.
        """
        ridge = RIDGE * kernel.diagonal().mean() * torch.eye(len(kernel)).to(kernel)
        self._time, self._targets = time / targets.numel(), targets
        self._values, self._vectors = torch.linalg.eigh(kernel + ridge)
        gone = passed(self._values, self._time)[:, None]
        self.weights = self._vectors @ (gone * (self._vectors.T @ targets))

    def back(self, gradient: Tensor) -> Tensor:
        """float [N, N]: the gradient by the kernel of a loss whose gradient by ``weights`` is given, [N, classes]."""
        inner = (self._vectors.T @ gradient) @ (self._targets.T @ self._vectors)
        found = self._vectors @ (inner * quotients(self._values, self._time)) @ self._vectors.T
        found.diagonal().add_(RIDGE * found.trace() / len(found))
        return found


def passed(values: Tensor, time: float) -> Tensor:
    """``(1 - exp(-time * value)) / value`` of positive eigenvalues."""
    return -torch.expm1(-time * values) / values


def quotients(values: Tensor, time: float) -> Tensor:
    """float [N, N]: (passed(a) - passed(b)) / (a - b) of each two of N eigenvalues; where they meet, the slope."""
    one, other = values[:, None], values[None]
    gap, middle = one - other, (one + other) / 2
    near = gap.abs() < NEAR * (middle + 1 / time)
    apart = passed(one, time) - passed(other, time)
    return torch.where(near, _slope(middle, time), apart / gap.masked_fill(near, 1.0))


def _slope(values: Tensor, time: float) -> Tensor:
    """The derivative of ``passed`` by the eigenvalue."""
    x = time * values
    small = -1 / 2 + x / 3 - x.square() / 8 + x**3 / 30
    large = (x * (-x).exp() + torch.expm1(-x)) / x.clamp_min(1e-2).square()
    return time**2 * torch.where(x < 1e-2, small, large)


@dataclass(frozen=True)
class Block:
    """Images that train one network, and others, which that network is asked about.

    Attributes:
        kernel: of two sets of images.
        time: see ``Flow``.
        targets: float64 [N, classes], the block's labels, one-hot.
        held: float64 [M, 3, H, W] in [0, 1].
        truth: int64 [M].
    """

    kernel: Kernel
    time: float
    targets: Tensor
    held: Tensor
    truth: Tensor

    @torch.no_grad()
    def right(self, images: Tensor) -> int:
        """How many held images a network trained on these, float64 [N, 3, H, W], gets right."""
        flow = self._flow(images)
        found = [
            (self.kernel(self.held[rows], images) @ flow.weights).argmax(1) == self.truth[rows]
            for rows in self._parts(self.held)
        ]
        return int(torch.cat(found).sum())

    def gradient(self, images: Tensor) -> Tensor:
        """float64 [N, 3, H, W]: the gradient, by the training images, of the held images' summed cross-entropy.

        Kernels are computed a few rows at a time: one of 512 images with 10,000 does not fit everywhere with all that
        its gradient needs.
        """
        with torch.no_grad():
            flow = self._flow(images)
        place, weights = images.detach().requires_grad_(), flow.weights.detach().requires_grad_()
        total, by_weights = torch.zeros_like(images), torch.zeros_like(weights)
        with torch.enable_grad():
            for rows in self._parts(self.held):
                logits = self.kernel(self.held[rows], place) @ weights
                loss = functional.cross_entropy(logits, self.truth[rows], reduction="sum")
                found = torch.autograd.grad(loss, (place, weights))
                total += found[0]
                by_weights += found[1]
            by_kernel = flow.back(by_weights)
            for rows in self._parts(images):
                loss = (by_kernel[rows] * self.kernel(place[rows], place)).sum()
                total += torch.autograd.grad(loss, place)[0]
        return total

    def _flow(self, images: Tensor) -> Flow:
        kernel = torch.cat([self.kernel(images[rows], images) for rows in self._parts(images)])
        return Flow((kernel + kernel.T) / 2, self.targets, self.time)

    def _parts(self, images: Tensor) -> Iterator[slice]:
        places = images.shape[2] * images.shape[3]
        rows = max(1, VALUES_AT_ONCE // (len(self.targets) * places))
        return (slice(start, start + rows) for start in range(0, len(images), rows))
