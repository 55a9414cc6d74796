"""bf16 where it is safe: gradients keep their signs, and noise stays close to what float32 makes."""

from __future__ import annotations

import pytest
import torch

from ue_bench.crafting import objectives
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.pgd import Walk, frozen, project


@pytest.fixture
def in_bf16(monkeypatch):
    """Makes objectives compute in bf16 on the CPU, which has the accelerators' number format."""

    def switch():
        monkeypatch.setattr(objectives, "autocast", lambda *_: torch.autocast("cpu", torch.bfloat16))

    return switch


@pytest.fixture
def confident(make_context):
    """(model, images, labels): a surrogate that is sure of every image, so that its loss is nearly zero."""
    model = make_context(3).surrogate("resnet_tiny", 10, (32, 32), start="own")
    images = torch.rand((64, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    model.train()(images)  # statistics of batch normalisation
    with torch.no_grad():
        model.fc.weight.mul_(1500)
        labels = model.eval()(images).argmax(1)
    return model, images, labels


def test_signs_do_not_underflow(confident, in_bf16):
    model, images, labels = confident
    with frozen(model):
        objective, shown = Classification(labels), images.clone().requires_grad_()
        loss = objective.loss(model, shown, slice(None))
        (exact,) = torch.autograd.grad(loss, shown)
        assert float(loss.detach()) / len(images) < 0.05, "the surrogate is sure, so gradients are tiny"
        in_bf16()
        (rough,) = torch.autograd.grad(objective.loss(model, shown, slice(None)), shown)
    tiny = (rough == 0).float().mean() - (exact == 0).float().mean()
    assert float(tiny) < 0.01, "bf16 loses no gradients that float32 has"


def test_noise_is_close_to_float32s(make_context, in_bf16):
    model = make_context(3).surrogate("resnet_tiny", 10, (32, 32), start="own")
    images = torch.rand((64, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    labels, walk = torch.arange(64) % 10, Walk(8 / 255, 0.8 / 255, 5)
    model.train()(images)
    objective, noises = Classification(labels), []
    for _ in range(2):
        with frozen(model):
            start = torch.zeros_like(images)
            noises.append(
                project(images, start, lambda shown: objective.loss(model, shown, slice(None)), walk) * 255
            )
        in_bf16()
    one, two = noises
    assert (one - two).abs().mean() < 0.1, "a tenth of a step of 1/255 on average"
    assert (one.sign() == two.sign()).float().mean() > 0.98
