"""Surrogates: trained once on clean data and shared, or trained in turns with the noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.canonical import digest
from ue_bench.contracts.context import Context
from ue_bench.contracts.defense import Defense
from ue_bench.contracts.view import ProtectorView
from ue_bench.data.imageset import ImageSet
from ue_bench.errors import ConfigError
from ue_bench.seeds import derive
from ue_bench.training.contrastive import train_contrastive
from ue_bench.training.epochs import training_step as training_step  # for methods that train step by step
from ue_bench.training.pairs import Pairs
from ue_bench.training.recipe import ContrastiveRecipe, Recipe
from ue_bench.training.supervised import train
from ue_bench.training.towers import Towers


def sgd(
    model: nn.Module, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD at a constant learning rate, without Nesterov momentum."""
    return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay)


def falls_after(ends: Iterable[int], epochs: int) -> tuple[float, ...]:
    """A recipe's milestones, as shares of its epochs, where the learning rate falls after so many whole epochs each.

    They are half an epoch early, because a share times the number of epochs may be rounded to just above a whole one.
    """
    return tuple((end - 0.5) / epochs for end in ends)


def trained_on_clean(
    view: ProtectorView,
    context: Context,
    name: str,
    recipe: Recipe,
    augmentation: Defense | None = None,
    subset: Tensor | None = None,
    start: str = "pytorch",
) -> nn.Module:
    """A classifier trained on the clean training set; the store keeps it for all methods that need the same one.

    Args:
        view: needs access to images and labels.
        name: of the architecture, in the victims registry.
        recipe: how it is trained; another recipe makes another surrogate.
        augmentation: replaces the recipe's crop and flip; its parameters are part of the key.
        subset: int64 [M], the only images to train on; part of the key. None: all images.
        start: how its first weights are drawn, see ``Context.surrogate``; part of the key.

    Returns:
        The module on the device, in evaluation mode.
    """
    model = context.surrogate(name, view.classes, view.image_size, start=start)
    extra = None if augmentation is None else (type(augmentation).__name__, augmentation.parameters())

    def make() -> dict[str, Tensor]:
        images, labels = view.images, view.labels
        if subset is not None:
            images, labels = images[subset], labels[subset]
        data = ImageSet(images, labels, class_names=tuple(str(label) for label in range(view.classes)))
        curves = train(
            model,
            data,
            recipe,
            device=context.device,
            seed=derive(context.seed, "surrogate order", name),
            defense=augmentation,
            progress=context.progress,
            checkpoints=context.ledger.checkpoints,
        )
        context.notes["surrogate_train_accuracy_percent"] = curves.train_accuracy[-1]
        return dict(model.state_dict())

    what = {"surrogate": name, "start": start, "recipe": recipe, "augmentation": extra}
    if subset is not None:
        what["subset"] = digest(subset.tolist())
    state = context.keep(what, make)
    model.load_state_dict({key: value.to(context.device) for key, value in state.items()})
    return model.eval()


def clip_surrogate(
    view: ProtectorView,
    context: Context,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    draw: int = 0,
) -> Towers:
    """A CLIP model for the view's image size, by its name in the victims registry; without weights, from scratch.

    ``draw``: which first weights it has, see ``Context.surrogate``.
    """
    model = context.surrogate(name, 0, view.image_size, parameters or None, draw=draw)
    if not isinstance(model, Towers):
        raise ConfigError(
            f"the surrogate '{name}' is no CLIP model, which contrastive runs need: "
            "set surrogate= to a contrastive victim (ue-bench list victims)"
        )
    return model


def trained_on_clean_pairs(
    view: ProtectorView, context: Context, name: str, recipe: ContrastiveRecipe
) -> Towers:
    """A CLIP model trained on the clean pairs; the store keeps it for all methods that need the same one.

    Args:
        view: of a contrastive run; needs access to images and captions.
        name: of the architecture, in the victims registry.
        recipe: how it is trained; another recipe makes another surrogate.

    Returns:
        The model on the device, in evaluation mode.
    """
    model = clip_surrogate(view, context, name)

    def make() -> dict[str, Tensor]:
        curves = train_contrastive(
            model,
            Pairs(view.images, view.image_of_example, view.example_captions),
            recipe,
            device=context.device,
            seed=derive(context.seed, "surrogate order", name),
            progress=context.progress,
            checkpoints=context.ledger.checkpoints,
        )
        context.notes["surrogate_train_loss"] = curves.train_loss[-1]
        return dict(model.state_dict())

    state = context.keep({"surrogate": name, "recipe": recipe, "data": "pairs"}, make)
    model.load_state_dict({key: value.to(context.device) for key, value in state.items()})
    model.eval()
    return model
