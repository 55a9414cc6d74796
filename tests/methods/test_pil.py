"""PIL: its gradient against autograd and by hand, its sign, and what its linear surrogate reads afterwards."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import fresh_context
from learnable import pictures
from torch.nn import functional

from ue_bench import Budget, ProtectorView
from ue_bench.crafting.resident import ResidentImages
from ue_bench_methods.pil import PIL, gradient, linearise

FAST = {"surrogate_batch_size": 8}
IDENTITY = torch.eye(2)  # a map that gives two pixels as two logits


def make(data, method=None, seed=0):
    context = fresh_context(seed)
    noise = (method or PIL(**FAST)).protect(ProtectorView(data, PIL.access, "supervised", "pil"), context)
    noise.check(len(data), data.image_size)
    return noise, context


@pytest.fixture(scope="module")
def made():
    data = pictures()
    return data, *make(data)


def test_the_gradient_is_that_of_the_papers_loss():
    generator = torch.Generator().manual_seed(0)
    images, surrogate = torch.rand(5, 12, generator=generator), torch.randn(3, 12, generator=generator)
    n = torch.randn(5, 12, generator=generator).requires_grad_()
    labels = torch.tensor([0, 1, 2, 2, 1])
    uniform = torch.full((5, 3), 1 / 3)
    loss = 0.9 * functional.cross_entropy(n @ surrogate.T, labels)
    beside = ((images - n) @ surrogate.T).log_softmax(1)
    loss = loss + 0.1 * functional.kl_div(beside, uniform, reduction="batchmean")
    (wanted,) = torch.autograd.grad(loss, n)
    found = gradient(images, functional.one_hot(labels).float(), surrogate, n.detach(), 0.9) / 5
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_the_first_term_moves_n_towards_its_label_and_stops_at_the_radius():
    # From 0 the softmax is (1/2, 1/2): the label's pixel rises by a step, the other one falls.
    n = walk(torch.zeros(1, 2), label=1, steps=1, label_weight=1.0)
    assert n.tolist() == [[-0.25, 0.25]]
    assert walk(torch.zeros(1, 2), label=1, steps=9, label_weight=1.0).tolist() == [[-1.0, 1.0]]


def test_the_second_term_takes_from_the_image_what_the_map_sees_in_it():
    # f(x) = (1, 0): two steps of a quarter take a half from the first logit and give it to the second: all is flat.
    image = torch.tensor([[1.0, 0.0]])
    assert walk(image, label=1, steps=1, label_weight=0.0).tolist() == [[0.25, -0.25]]
    flat = walk(image, label=1, steps=2, label_weight=0.0)
    assert flat.tolist() == [[0.5, -0.5]] and (image - flat).tolist() == [[0.5, 0.5]]


def walk(images, label, steps, label_weight):
    settings = {"radius": 1.0, "step_size": 0.25, "steps": steps, "label_weight": label_weight}
    return linearise(images, torch.tensor([label]), IDENTITY, torch.zeros(1, 2), **settings)


def test_what_is_published_is_the_negative_of_what_the_surrogate_reads(made):
    data, noise, _ = made
    images = ResidentImages(data.images, torch.device("cpu"))
    surrogate = PIL(**FAST)._train(
        images, data.labels, 4, fresh_context(0)
    )  # the same first draws, the same map
    read = (-noise.noise.flatten(1).float() @ surrogate.T).argmax(1)
    assert torch.equal(read, data.labels)
    assert not torch.equal((noise.noise.flatten(1).float() @ surrogate.T).argmax(1), data.labels)


def test_the_surrogate_reads_every_noise_and_sees_less_in_what_is_published(made):
    _, _, context = made
    notes = context.notes
    assert notes["surrogate_noise_accuracy_percent"] == 100
    assert notes["largest_entropy"] == math.log(4) >= notes["surrogate_protected_entropy"] > 0


def test_every_image_has_noise_of_its_own_within_the_budget(made):
    data, noise, _ = made
    assert noise.noise.dtype == torch.int8 and int(noise.noise.abs().max()) == 8
    assert len(noise.noise.unique(dim=0)) == len(data)


def test_other_labels_seeds_and_budgets_make_other_noise(made):
    data, noise, _ = made
    assert not torch.equal(make(data, seed=1)[0].noise, noise.noise)
    turned = type(data)(data.images, data.labels.roll(1), None, data.class_names)
    assert not torch.equal(make(turned)[0].noise, noise.noise)
    small, _ = make(data, PIL(budget=Budget("linf", 4), **FAST))
    assert int(small.noise.abs().max()) == 4
