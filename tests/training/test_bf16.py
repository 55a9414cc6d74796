"""bf16 where it is safe: gradients keep their signs, and noise stays close to what float32 makes."""

from __future__ import annotations

import dataclasses
from statistics import fmean

import pytest
import torch
from conftest import fresh_context
from learnable import pictures
from torch import nn

from ue_bench import ProtectorView
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.pgd import Walk, frozen, project
from ue_bench.training.arithmetic import Switches, computing_as
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train
from ue_bench_methods.em import EM

CPU = torch.device("cpu")
IN_BF16 = Switches(cpu_bf16=True)  # a CPU has the accelerators' number format


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


def test_signs_do_not_underflow(confident):
    model, images, labels = confident
    with frozen(model):
        objective, shown = Classification(labels), images.clone().requires_grad_()
        loss = objective.loss(model, shown, slice(None))
        (exact,) = torch.autograd.grad(loss, shown)
        assert float(loss.detach()) / len(images) < 0.05, "the surrogate is sure, so gradients are tiny"
        with computing_as(IN_BF16, CPU):
            (rough,) = torch.autograd.grad(objective.loss(model, shown, slice(None)), shown)
    assert not torch.equal(rough, exact)
    tiny = (rough == 0).float().mean() - (exact == 0).float().mean()
    assert float(tiny) < 0.01, "bf16 loses no gradients that float32 has"


def test_noise_is_close_to_float32s(make_context):
    model = make_context(3).surrogate("resnet_tiny", 10, (32, 32), start="own")
    images = torch.rand((64, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    labels, walk = torch.arange(64) % 10, Walk(8 / 255, 0.8 / 255, 5)
    model.train()(images)
    objective, noises = Classification(labels), []
    for switches in (Switches(), IN_BF16):
        with frozen(model), computing_as(switches, CPU):
            start = torch.zeros_like(images)
            noises.append(
                project(images, start, lambda shown: objective.loss(model, shown, slice(None)), walk) * 255
            )
    one, two = noises
    assert not torch.equal(one, two)
    assert (one - two).abs().mean() < 0.1, "a tenth of a step of 1/255 on average"
    assert (one.sign() == two.sign()).float().mean() > 0.98


def small(seed: int) -> nn.Module:
    """A classifier of four classes that learns ``pictures`` in seconds."""
    torch.manual_seed(seed)
    convolutions = (nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1))
    return nn.Sequential(
        *convolutions, nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)
    )


def test_victims_learn_and_noise_protects_alike():
    """Coarse, since it takes seconds: 3 seeds at 10,000 images are in results/README.md."""
    everything, half = pictures(480), torch.arange(240)
    data, test = everything.take(half), everything.take(half + 240)
    recipe = Recipe(epochs=12, batch_size=40, crop_padding=0, flip=False)
    method = EM(granularity="class", max_rounds=3, model_steps=6, subset_share=1.0, batch_size=40)
    means = {}
    for switches in (Switches(), IN_BF16):
        found: dict[str, list[float]] = {"clean": [], "protected": []}
        for seed in range(2):
            context = fresh_context(seed, build=lambda name, classes, size, draw, *_: small(draw))
            with computing_as(switches, CPU):
                noise = method.protect(ProtectorView(data, method.access, "supervised", "em"), context)
                published = dataclasses.replace(data, images=noise.added_to(data.images, half), _memo={})
                for name, images in (("clean", data), ("protected", published)):
                    curves = train(small(seed), images, recipe, device=CPU, seed=seed, test=test)
                    found[name].append(curves.test_accuracy[-1])
        means[switches] = {name: fmean(values) for name, values in found.items()}
    exact, rough = means[Switches()], means[IN_BF16]
    assert exact != rough, "both were computed"
    assert min(exact["clean"], rough["clean"]) > 85 and abs(exact["clean"] - rough["clean"]) < 8
    assert max(exact["protected"], rough["protected"]) < 65
