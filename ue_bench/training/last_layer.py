"""Last-layer probe: how much a victim has learnt that a new last layer, trained on clean images, can use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ue_bench.data.imageset import ImageSet
from ue_bench.data.strata import stratified
from ue_bench.probes import logistic, percent_right
from ue_bench.training.batches import plain_batches

AT_ONCE = 1000  # images
CLEAN_IMAGES = 5000  # DFR's code
PASSES = 15  # of L-BFGS over their features; DFR's code


@torch.no_grad()
def probe_accuracy(model: nn.Module, train: ImageSet, test: ImageSet, device: torch.device) -> float | None:
    """Test accuracy in percent with the last layer trained anew on clean training images, at most CLEAN_IMAGES.

    Deep feature reweighting (Kirichenko et al., ICLR 2023) as Sandoval-Segura et al. (NeurIPS 2023) measure protected
    victims by it, after the last epoch only. Nobody who trains on protected images has these clean ones: this
    number tells what the victim's features are worth. Those of an untrained victim are worth something, too.

    Returns:
        None for a model whose logits are not those of a linear layer.
    """
    assert train.labels is not None and test.labels is not None
    place = stratified(train.labels, len(train), 0)
    chosen = place.argsort(stable=True)[:CLEAN_IMAGES]
    features = features_of(model, train.images[chosen], train.classes, device)
    if features is None:
        return None
    with torch.enable_grad():
        weights = logistic(features, train.labels[chosen].to(device), train.classes, PASSES)
    asked = features_of(model, test.images, train.classes, device)
    assert asked is not None
    return percent_right(asked, weights, test.labels.to(device))


@torch.no_grad()
def features_of(model: nn.Module, images: Tensor, classes: int, device: torch.device) -> Tensor | None:
    """float32 [N, D]: what the last linear layer is given, in evaluation mode; None without one that gives logits.

    Args:
        images: uint8 [N, 3, H, W].
        classes: the number of logits.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1].out_features != classes:
        return None
    seen: list[Tensor] = []
    hook = linear[-1].register_forward_pre_hook(lambda module, given: seen.append(given[0].to(torch.float32)))
    model.eval()
    try:
        for batch in plain_batches(images, AT_ONCE, device):
            model(batch)
    finally:
        hook.remove()
    found = torch.cat(seen)
    return found if found.ndim == 2 and len(found) == len(images) else None
