"""Orthogonal projection: removes from every training image what a linear classifier of the set looks at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ue_bench import Count, Defense, Positive
from ue_bench.defenses._jitter import jitter
from ue_bench.defenses.cutmix import CutMix

DROPS = (
    0.5,
    0.75,
)  # shares of the epochs after which the learning rate falls to a tenth; code: after 10 and 15 of 20


@dataclass(frozen=True)
class OrthogonalProjection(Defense):
    """Orthogonal projection (Sandoval-Segura et al., NeurIPS 2023, "What can we learn from unlearnable datasets?").

    A linear classifier without a bias is fitted to the published images and labels; then every training image loses
    its part in the span of the classifier's weights, one direction a class. Values are not rounded and leave [0, 1].
    Test images are not projected. It works where noise is linearly separable and few directions hold it (SynPer, OPS,
    class-wise EM), and not for TAP or AR.

    The authors' program also augments strongly and uses CutMix unless told otherwise, and its printed results contain
    both: ``augmented`` adds them. There they come before crop and flip, here after these. It trains for 50 epochs with
    a weight decay of 1e-4.
    """

    augmented: bool = False  # rotation, affine, colour jitter and CutMix, the authors' defaults
    epochs: Count = 20  # of the linear classifier; code
    learning_rate: Positive = 0.1  # SGD, x0.1 at half and three quarters; code
    batch_size: Count = 1024  # images, in the data's own order; code

    @property
    def comparable_training(self) -> bool:  # type: ignore[override]
        """Whether CutMix stays away."""
        return not self.augmented

    def fit_once(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        basis = orthonormal(self.weights(images, labels, generator))
        parts = []
        for part in images.split(self.batch_size):
            pixels = part.flatten(1).to(basis.device, torch.float32)
            parts.append((pixels - (pixels @ basis.T) @ basis).view(part.shape).to(images.device))
        return torch.cat(parts)

    def weights(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """float32 [classes, 3 H W]: the fitted classifier of flattened pixels in [0, 1], on the generator's device."""
        device, values = generator.device, images[0].numel()
        bound = 1 / math.sqrt(values)  # torch's start of a linear layer
        drawn = torch.rand((int(labels.max()) + 1, values), generator=generator, device=device)
        weights = (2 * bound * drawn - bound).requires_grad_()
        for epoch in range(self.epochs):
            rate = self.learning_rate * 0.1 ** sum(epoch >= share * self.epochs for share in DROPS)
            for part, goal in zip(images.split(self.batch_size), labels.split(self.batch_size), strict=True):
                pixels = part.flatten(1).to(device, torch.float32) / 255
                loss = cross_entropy(pixels @ weights.T, goal.to(device))
                (gradient,) = torch.autograd.grad(loss, weights)
                weights.data.sub_(gradient, alpha=rate)
        return weights.detach()

    def batch(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if not self.augmented:
            return images, targets
        return CutMix(1.0, 0.5).batch(jitter(images, generator), targets, generator)


def orthonormal(weights: Tensor) -> Tensor:
    """float32 [C, D]: orthonormal rows that span the rows of ``weights``, float [C, D], each scaled to length 1."""
    rows = torch.nn.functional.normalize(weights.to(torch.float64), dim=1)
    return torch.linalg.qr(rows.T)[0].T.to(torch.float32).contiguous()
