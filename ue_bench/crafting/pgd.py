"""The projected-gradient loop that error-minimizing and error-maximizing methods share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TINY = 1e-12  # least norm by which a gradient is divided


@dataclass(frozen=True)
class Walk:
    """The settings of a projected-gradient walk. Lengths are in [0, 1] pixel units (``8 / 255``).

    Attributes:
        radius: bound of the noise, in ``norm``.
        step_size: linf: what one step adds to each value, up or down; l2: the norm of a step along the gradient.
        steps: how many; 0 leaves the noise as it is.
        maximise: climb the loss instead of descending it.
        norm: ``linf`` or ``l2``.
    """

    radius: float
    step_size: float
    steps: int
    maximise: bool = False
    norm: str = "linf"


def project(
    images: Tensor,
    delta: Tensor,
    loss: Callable[[Tensor], Tensor] | None,
    walk: Walk,
    transform: Callable[[Tensor], Tensor] | None = None,
    of_noise: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Gradient steps on ``loss``, each one projected to the ball and to valid pixels; linf steps take the sign.

    Every step starts from ``clip(images + delta, 0, 1)``, so noise that a saturated pixel cannot show is
    lost. The result is clipped to the radius only: pixels are clipped again where noise is published.

    Args:
        images: float [B, 3, H, W] in [0, 1]; channels-last is the faster layout.
        delta: float [B, 3, H, W], where to start, in [0, 1] pixel units; not changed.
        loss: float images [B, 3, H, W] -> scalar. Sum over the images instead of averaging: then no image's
            gradient depends on the batch size, and none underflows to zero, which has no sign. None: only ``of_noise``.
        transform: differentiable augmentation, applied before ``loss`` and drawn anew in every step.
        of_noise: float noise [B, 3, H, W] -> scalar, added to the loss: what depends on the noise alone, before pixels
            are clipped.

    Returns:
        float [B, 3, H, W], the new delta.

    Example: three steps of 1/255 down the loss ``lambda shown: shown.sum()`` turn a delta of 0 into -3/255,
    but only -1/255 at black pixels.
    """
    step = walk.step_size if walk.maximise else -walk.step_size
    for _ in range(walk.steps):
        shown = (images + delta).clamp_(0, 1)
        if loss is None:
            gradient = torch.zeros_like(shown)
        else:
            gradient = _gradient(lambda at: loss(at if transform is None else transform(at)), shown)
        if of_noise is not None:
            gradient = gradient + _gradient(of_noise, delta)
        if walk.norm == "l2":
            delta = shown.add_(gradient / _norms(gradient).clamp_min(TINY), alpha=step).sub_(images)
            delta *= walk.radius / _norms(delta).clamp_min(walk.radius)
        else:
            delta = shown.add_(gradient.sign(), alpha=step).sub_(images).clamp_(-walk.radius, walk.radius)
    return delta


def _gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    place = at.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(place)
    (gradient,) = torch.autograd.grad(value, place)
    return gradient


def _norms(values: Tensor) -> Tensor:
    """float [B, 1, 1, 1]: the L2 norm of each image's values."""
    return torch.linalg.vector_norm(values, dim=(1, 2, 3), keepdim=True)


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode, without gradients for its weights, which saves a third of a backward pass.

    On exit, every module's mode and every parameter's ``requires_grad`` are restored.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield model.eval().requires_grad_(False)
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
