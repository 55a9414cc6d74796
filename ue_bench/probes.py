"""How easily simple models learn a noise: measures that take seconds on a CPU for a few thousand images."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ue_bench.seeds import derive

HELD_OUT = 0.2  # share of the images on which a probe is tested; UDP's code: 10,000 of 50,000
EPOCHS = 20  # of the detectors; UDP's code: 100
HIDDEN = 64  # units of the two-layer detector
PASSES = (
    50  # of L-BFGS over the noise, fewer if all is right before; LSP's code. Orthogonal projection's: 500
)
MOST_VALUES = 160_000_000  # pixel values that take part; of larger sets a part of the images


def noise_probes(clean: Tensor, published: Tensor, labels: Tensor, device: torch.device) -> dict[str, float]:
    """How well simple models tell the classes of held-out images, in percent, after training on the others.

    Guessing reaches one share in the number of classes. The same images are held out for any noise.

    Args:
        clean: uint8 [N, 3, H, W].
        published: uint8 [N, 3, H, W].
        labels: int64 [N].
        device: to compute on.

    Returns:
        ``separable_percent``: a linear model of the noise alone; ``separable_train_percent``: the same on the images
        that it was trained on, which papers print, and which is high for any noise of fewer images than values.
        ``linear_detector_percent``, ``two_layer_detector_percent``: models of the published images; UDP calls a set
        unlearnable if one exceeds 70.
    """
    classes, values = int(labels.max()) + 1, clean[0].numel()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive(0, "probes")))
    order = order[: max(2, MOST_VALUES // values)]
    held = max(1, round(HELD_OUT * len(order)))
    test, train = order[:held], order[held:]
    known, asked = labels[train].to(device), labels[test].to(device)
    noise = _scaled(clean, published, train, device)
    weights = logistic(noise, known, classes, PASSES)
    found = {
        "separable_percent": percent_right(_scaled(clean, published, test, device), weights, asked),
        "separable_train_percent": percent_right(noise, weights, known),
    }
    del noise
    pixels, shown = (published[part].flatten(1).to(device, torch.float32) / 255 for part in (train, test))
    middle = pixels.mean(dim=0)
    spread = float((pixels - middle).square().mean().sqrt().clamp_min(1e-6))
    pixels, shown = ((part.sub_(middle).div_(spread)) for part in (pixels, shown))
    for name, hidden in (("linear_detector_percent", 0), ("two_layer_detector_percent", HIDDEN)):
        found[name] = _detect(pixels, known, shown, asked, classes, hidden)
    return found


def _scaled(clean: Tensor, published: Tensor, index: Tensor, device: torch.device) -> Tensor:
    """float32 [M, 3 H W]: the change of the images at ``index``, -255 to 255 as 0 to 1."""
    change = published[index].to(device, torch.float32).sub_(clean[index].to(device))
    return change.flatten(1).add_(255).div_(510)


def logistic(features: Tensor, labels: Tensor, classes: int, passes: int) -> Tensor:
    """float32 [D + 1, classes]: a linear classifier and its bias, from zero, by L-BFGS with a rate of 0.5.

    It stops before ``passes`` steps once every label is right. Features are centred and scaled to one spread, by
    numbers that belong to the classifier.

    Args:
        features: float32 [N, D].
        labels: int64 [N].
        classes: how many there are.
        passes: the most steps.
    """
    middle = features.mean(dim=0)
    spread = (features - middle).square().mean().sqrt().clamp_min(1e-12)
    inside = (features - middle) / spread
    weights = torch.zeros((features.shape[1] + 1, classes), device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], lr=0.5, max_iter=1, history_size=10)

    right: list[bool] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = torch.addmm(weights[-1], inside, weights[:-1])
        loss = cross_entropy(logits, labels)
        loss.backward()
        right.append(bool((logits.argmax(1) == labels).all()))
        return loss

    for _ in range(passes):
        optimizer.step(closure)
        if right[-1]:
            break
    found = weights.detach().clone()
    found[:-1] /= spread
    found[-1] -= middle @ found[:-1]
    return found


def percent_right(features: Tensor, weights: Tensor, labels: Tensor) -> float:
    """Accuracy in percent of a classifier that ``logistic`` found on features, float32 [N, D]."""
    logits = torch.addmm(weights[-1], features, weights[:-1])
    return 100 * float((logits.argmax(1) == labels).float().mean())


def _detect(train: Tensor, known: Tensor, test: Tensor, asked: Tensor, classes: int, hidden: int) -> float:
    """Held-out accuracy in percent of a linear model (``hidden`` 0) or a two-layer net after EPOCHS of Adam."""
    device, values = train.device, train.shape[1]
    generator = torch.Generator(device).manual_seed(derive(0, "detector", hidden))

    def layer(inputs: int, outputs: int) -> list[Tensor]:
        drawn = torch.rand((inputs, outputs), generator=generator, device=device)
        return [((2 * drawn - 1) / math.sqrt(inputs)).requires_grad_(), torch.zeros(outputs, device=device)]

    sizes = [values, hidden, classes] if hidden else [values, classes]
    layers = [layer(*pair) for pair in itertools.pairwise(sizes)]
    parameters = [part.requires_grad_() for pair in layers for part in pair]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def logits(images: Tensor) -> Tensor:
        for number, (weight, bias) in enumerate(layers):
            images = torch.addmm(bias, images.relu() if number else images, weight)
        return images

    for _ in range(EPOCHS):
        for index in torch.randperm(len(train), generator=generator, device=device).split(128):
            loss = cross_entropy(logits(train[index]), known[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return 100 * float((logits(test).argmax(1) == asked).float().mean())
