"""Which pixels and which words a victim's output depends on: Grad-CAM and integrated gradients, by captum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.errors import UnavailableError
from ue_bench.training.towers import Towers

GRID = 4  # the fewest positions per side of a map
STEPS = 64  # steps of the path of integrated gradients
EXTRA = 16  # the most class and register tokens that a transformer may have beside its patches
BLANK = 0  # the token id with which captions are padded


@dataclass(frozen=True, eq=False)
class Place:
    """The place in a network where attention is read.

    Attributes:
        name: the module's name.
        module: a part with convolutions (its output is read), or a transformer block (its input is).
        grid: (h, w) positions.
        tokens: True for a transformer block.
    """

    name: str
    module: nn.Module
    grid: tuple[int, int]
    tokens: bool = False

    def __str__(self) -> str:
        way = "gradient x activation" if self.tokens else "Grad-CAM"
        return f"{way} at {self.name}, {self.grid[0]}x{self.grid[1]}"


def captum() -> Any:
    """``captum.attr``; UnavailableError, which says what to install, if it is missing."""
    try:
        import captum.attr
    except ImportError as error:
        raise UnavailableError(
            "attention needs captum, which is not installed: pip install 'ue-bench[explain]'"
        ) from error
    return captum.attr


def find_place(model: nn.Module, run: Callable[[Tensor], Any], image: Tensor) -> Place:
    """The last convolutional stage whose map has at least GRID positions a side, or the last transformer block.

    It is found by observing the modules that run, so it does not depend on the names of a model's parts.

    Args:
        model: the model in evaluation mode.
        run: calls the model on images.
        image: float [1, 3, H, W].

    Raises:
        UnavailableError: if the model has neither.
    """
    events: list[tuple[str, nn.Module, tuple[int, ...], tuple[int, ...]]] = []

    def watch(name: str) -> Callable[..., None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                events.append((name, module, tuple(inputs[0].shape), tuple(output.shape)))

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.enable_grad():  # without it, torch's own transformer layers skip their parts
            run(torch.cat([image, image]))
    finally:
        for hook in hooks:
            hook.remove()
    maps = [
        (number, event)
        for number, event in enumerate(events)
        if len(event[3]) == 4 and min(event[3][2:]) >= GRID and _has_convolution(event[1])
    ]
    if not maps:
        raise UnavailableError(
            f"no convolution of {type(model).__name__} gives a map of {GRID}x{GRID} positions or more"
        )
    last = maps[-1][0]
    grid = (maps[-1][1][3][2], maps[-1][1][3][3])
    blocks = [event for event in events[last + 1 :] if event[2] == event[3] and _is_block(event[1])]
    if blocks:
        name, module, given, _ = blocks[-1]
        spare = given[1] - grid[0] * grid[1] if len(given) == 3 and given[0] == 2 else -1
        if not 0 <= spare <= EXTRA:
            raise UnavailableError(
                f"the last transformer block of {type(model).__name__} ({name}) does not read one token a patch"
            )
        return Place(name, module, grid, tokens=True)
    alike = [event for _, event in maps if event[3][2:] == grid]
    shallow = min(event[0].count(".") for event in alike)
    name, module = [event[:2] for event in alike if event[0].count(".") == shallow][-1]
    return Place(name, module, grid)


def attention_maps(
    place: Place, score: Callable[..., Tensor], images: Tensor, *further: Any, target: Any = None
) -> Tensor:
    """float32 [n, h, w] on the CPU, at least 0: the evidence for the score at each position.

    Grad-CAM (Selvaraju et al., ICCV 2017); for transformers gradient times activation, summed over a token's values.

    Args:
        score: (images, *further) -> [n], or [n, classes] with ``target`` int64 [n].
        images: float [n, 3, H, W] in [0, 1], on the device.
    """
    attr = captum()
    images = images.detach().clone().requires_grad_(True)
    if not place.tokens:
        found = attr.LayerGradCam(score, place.module).attribute(
            images, target=target, additional_forward_args=further or None, relu_attributions=True
        )
        return found[:, 0].detach().to("cpu", torch.float32)
    found = attr.LayerGradientXActivation(score, place.module).attribute(
        images, target=target, additional_forward_args=further or None, attribute_to_layer_input=True
    )
    patches = found.sum(dim=2)[:, -place.grid[0] * place.grid[1] :]
    return patches.clamp_min(0).unflatten(1, place.grid).detach().to("cpu", torch.float32)


@dataclass(frozen=True, eq=False)
class Reading:
    """What a caption's tokens add to its similarity with a picture.

    Attributes:
        shares: float32 [L], one for each token; their sum is ``similarity - blank`` up to the error of a finite path.
        similarity: cosine of picture and caption.
        blank: the same for a caption of the same length that consists of padding tokens.
    """

    shares: Tensor
    similarity: float
    blank: float


def read_caption(towers: Towers, picture: Tensor, tokens: Tensor, steps: int = STEPS) -> Reading:
    """Integrated gradients (Sundararajan et al., ICML 2017) of the cosine, on the token embedding.

    The path starts from the same caption with its words replaced by padding; the start and end tokens stay.

    Args:
        picture: float [1, D], the image's features, of length 1.
        tokens: int64 [1, L].
    """
    attr = captum()
    length = int(tokens.argmax(dim=1)) + 1
    tokens = tokens[:, :length]
    empty = torch.full_like(tokens, BLANK)
    empty[:, 0], empty[:, -1] = tokens[:, 0], tokens[:, -1]

    def similarity(ids: Tensor, seen: Tensor) -> Tensor:
        return (towers.encode_text(ids) * seen).sum(dim=1)

    method = attr.LayerIntegratedGradients(similarity, towers.token_embedding)
    found = method.attribute(tokens, baselines=empty, additional_forward_args=(picture,), n_steps=steps)
    with torch.no_grad():
        whole, blank = float(similarity(tokens, picture)), float(similarity(empty, picture))
    return Reading(found[0, :length].sum(dim=1).detach().to("cpu", torch.float32), whole, blank)


def _has_convolution(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in module.modules())


def _is_block(module: nn.Module) -> bool:
    """True for a transformer block of any library: a module that directly holds two normalisations."""
    return sum(isinstance(part, nn.LayerNorm) for part in module.children()) >= 2
