"""Single training steps, for methods that train their surrogate in turns with the noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, gradient_clip: float
) -> None:
    """Follows ``loss`` (a scalar, already computed in training mode) by one step of ``optimizer``.

    Args:
        gradient_clip: the largest global norm of the gradient; 0 for none.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if gradient_clip:
        nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimizer.step()


def sgd(
    model: nn.Module, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Plain SGD at a constant learning rate, without Nesterov's momentum."""
    return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
