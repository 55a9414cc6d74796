"""The floating-point operations of networks, counted once for each network from its shapes, then by its calls.

A multiplication and an addition are two operations. Matrix products, convolutions and attention count, nothing else.
A call with gradients counts its forward pass and the backward pass that follows: to the weights, or, where the images
themselves need a gradient as in a noise step, to the images alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.canonical import digest
from ue_bench.clock import Clock
from ue_bench.training.towers import Towers

BATCH = 2  # normalisation layers need more than one image


@dataclass(frozen=True)
class Flop:
    """Operations of a network for one image or caption.

    Attributes:
        forward: without gradients.
        training: forward and backward to the weights.
        noise: forward and backward to the image.
    """

    forward: float
    training: float
    noise: float

    def of(self, given: Tensor, returned: Tensor) -> float:
        """Of a call for one of what it was given, by the gradients that it leaves to be computed."""
        if not returned.requires_grad:
            return self.forward
        return self.noise if given.requires_grad else self.training


_known: dict[str, Flop | None] = {}


def flop_of(model: nn.Module, key: Any, *inputs: Tensor) -> Flop | None:
    """The operations of ``model`` for one image, in one call with zeros; it stays as it is.

    Args:
        key: equal for equal networks and inputs; they are counted once a process.
        inputs: ``BATCH`` images or captions.

    Returns:
        None for a network that cannot be called so.

    """
    name = digest(key)
    if name not in _known:
        device = next(model.parameters(), inputs[0]).device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
                _known[name] = _count(model, [each.to(device) for each in inputs])
        except Exception:  # what content raises here, it raises again in its training, where it is reported
            _known[name] = None
    return _known[name]


def _count(model: nn.Module, inputs: list[Tensor]) -> Flop:
    training, forward = _run(model, inputs, weights=True)
    images = [each.requires_grad_() if each.is_floating_point() else each for each in inputs]
    return Flop(forward, training, _run(model, images, weights=False)[0])


def _run(model: nn.Module, inputs: list[Tensor], weights: bool) -> tuple[float, float]:
    """(operations of a forward and a backward pass, of the forward pass alone) for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    state = {name: weight.detach().requires_grad_(weights) for name, weight in model.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in model.named_buffers()}
    with FlopCounterMode(display=False) as counter:
        out = torch.func.functional_call(model, state, tuple(inputs))
        forward = counter.get_total_flops()
        if out.requires_grad:
            out.sum().backward()
        return counter.get_total_flops() / BATCH, forward / BATCH


def watch(model: nn.Module, key: Any, image_size: tuple[int, int], clock: Clock) -> nn.Module:
    """Makes ``model`` count the operations of each of its calls in the clock's present phase; returns it.

    Args:
        model: an image classifier, or ``Towers``; what it computes does not change.
        key: equal for equal networks, see ``flop_of``.
        image_size: (height, width) in pixels that it will see.
    """
    with clock.paused():
        images = torch.zeros(BATCH, 3, *image_size)
        if isinstance(model, Towers):
            model.watcher = _towers_watcher(model, key, images, clock)
        elif flop := flop_of(model, [key, image_size], images):
            model.register_forward_hook(_hook(flop, clock))
    return model


def _hook(flop: Flop, clock: Clock) -> Callable[[nn.Module, tuple, Any], None]:
    def counted(module: nn.Module, given: tuple, returned: Any) -> None:
        if given and isinstance(given[0], Tensor) and isinstance(returned, Tensor):
            images = given[0]
            clock.count_flop(_dtype(images), flop.of(images, returned) * len(images))

    return counted


def _towers_watcher(
    towers: Towers, key: Any, images: Tensor, clock: Clock
) -> Callable[[str, Tensor, Tensor], None]:
    """Counts calls of either tower; rows of token ids count by their length."""
    length = towers.context_length
    tokens = torch.zeros(BATCH, length, dtype=torch.int64)
    counts = {
        "image": flop_of(_Tower(towers, "image"), [key, images.shape, "image"], images),
        "text": flop_of(_Tower(towers, "text"), [key, "text"], tokens),
    }

    def counted(tower: str, given: Tensor, returned: Tensor) -> None:
        share = given.shape[1] / length if tower == "text" else 1.0
        if flop := counts[tower]:
            clock.count_flop(_dtype(given), flop.of(given, returned) * len(given) * share)

    return counted


class _Tower(nn.Module):
    """One tower of Towers, as a module of its own."""

    def __init__(self, towers: Towers, tower: str):
        super().__init__()
        self.towers, self.tower = towers, tower

    def forward(self, given: Tensor) -> Tensor:
        return self.towers.encode_image(given) if self.tower == "image" else self.towers.encode_text(given)


def _dtype(given: Tensor) -> str:
    """The arithmetic of a call: that of autocast where it is on."""
    kind = given.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    return str(dtype).removeprefix("torch.")
