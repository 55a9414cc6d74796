"""HotFlip (Ebrahimi et al., ACL 2018): finds tokens that lower a loss by its gradient, and searches among them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ue_bench.training.towers import Towers


def token_gradients(model: Towers, tokens: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """float32 [B, L, E]: the loss's gradient with respect to each token's embedding. Weights get no gradient.

    Args:
        tokens: int64 [B, L].
        loss: text features, float32 [B, D] -> scalar.
    """
    leaves: list[Tensor] = []

    def cut(module, inputs, embedded: Tensor) -> Tensor:
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    handle = model.token_embedding.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            value = loss(model.encode_text(tokens))
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(value, leaves)
    return gradient.to(torch.float32)


def candidates(gradients: Tensor, embedding: Tensor, count: int, allowed: Tensor | None = None) -> Tensor:
    """int64 [B, k, count]: for each row and position the tokens that lower the loss most, best first.

    To first order the loss changes by ``(new - old) . gradient`` when a token is replaced. The best new embeddings are
    therefore those with the smallest product with the gradient, whatever the old one is.

    Args:
        gradients: float32 [B, k, E], at the k positions.
        embedding: float [V, E], of every token.
        count: tokens per position; no more than are allowed.
        allowed: bool [V]; None: every token.
    """
    scores = -(gradients.flatten(0, 1) @ embedding.to(torch.float32).T)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores.topk(count, dim=1).indices.view(*gradients.shape[:2], count)


@torch.no_grad()
def search(
    triggers: Tensor, loss: Callable[[Tensor], Tensor], options: Callable[[int, Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sets each position, from left to right, to the best of a few tokens; all rows of the batch change at once.

    The n-th options of all rows are tried together, because the loss is that of the batch. The present tokens are tried
    as well, so that the loss never rises.

    Args:
        triggers: int64 [B, k]; not changed.
        loss: triggers -> scalar, without gradients.
        options: (position, present triggers) -> int64 [B, C], the tokens to try there.

    Returns:
        (int64 [B, k], loss before, loss after).
    """
    before = best = loss(triggers)
    for position in range(triggers.shape[1]):
        choices = options(position, triggers)
        trials = triggers.repeat(choices.shape[1], 1, 1)
        trials[:, :, position] = choices.T
        losses = torch.stack([loss(trial) for trial in trials])
        lowest = losses.argmin()
        if bool(losses[lowest] < best):
            triggers, best = trials[lowest], losses[lowest]
    return triggers, before, best
