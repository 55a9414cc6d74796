"""Steps as CUDA graphs. Equality to ordinary steps is seen on a GPU only; a stand-in shows the rest on a CPU."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from learnable import pictures
from torch import nn

from ue_bench import Defense
from ue_bench.clock import Clock
from ue_bench.crafting import noise as crafting
from ue_bench.crafting.noise import ImageNoise
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.pgd import Walk, frozen
from ue_bench.crafting.resident import ResidentImages
from ue_bench.errors import TrainingError
from ue_bench.training import graphs, supervised
from ue_bench.training.arithmetic import Switches, computing_as
from ue_bench.training.batches import resident
from ue_bench.training.epochs import set_learning_rate
from ue_bench.training.graphs import WARM_UP, Captured
from ue_bench.training.optim import make_optimizer
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train

CPU, GPU = torch.device("cpu"), torch.device("cuda")
RECIPE = Recipe(epochs=3, batch_size=48, crop_padding=2, learning_rate=0.05, gradient_clip=5.0)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
    )


def built(device: torch.device) -> nn.Module:
    model = network()
    model(torch.zeros(2, 3, 16, 16))
    return model.to(device)


@pytest.fixture
def stand_in(monkeypatch):
    """Makes the CPU record and replay: what is replayed is the recorded function at the places of its inputs."""
    replays: list[int] = []

    def recorded(function, inputs, generators, stream):
        states = [generator.get_state() for generator in generators]
        output = function(*inputs)  # to know its shape; a real recording computes nothing
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)

        def replay():
            replays.append(1)
            result = function(*inputs)
            if output is not None:
                output.copy_(result)

        return output, replay

    monkeypatch.setattr(graphs, "_side_stream", lambda device: None)
    monkeypatch.setattr(graphs, "_aside", lambda function, given, stream: function(*given))
    monkeypatch.setattr(graphs, "_recorded", recorded)
    return replays


def test_inputs_are_read_at_each_replay_and_other_shapes_are_ordinary_calls(stand_in):
    double = Captured(lambda x: 2 * x)
    for value in range(WARM_UP + 3):
        assert double(torch.full((4,), float(value))).tolist() == [2.0 * value] * 4
        assert double(torch.full((3,), float(value))).tolist() == [2.0 * value] * 3, "the last, smaller batch"
    assert len(stand_in) == 3


def test_a_replay_counts_its_operations(stand_in, monkeypatch):
    monkeypatch.setattr(graphs, "_recorded", lambda function, inputs, *_: (function(*inputs), lambda: None))
    clock = Clock(CPU)
    step = Captured(lambda x: clock.count_flop("float32", 10.0) or x, clock=clock)
    with clock.phase("train"):
        for _ in range(WARM_UP):
            step(torch.zeros(2))
        assert clock.flop["train"] == {"float32": 10.0 * WARM_UP}
        for _ in range(4):
            step(torch.zeros(2))
    assert clock.flop["train"] == {"float32": 10.0 * (WARM_UP + 4)}


def test_what_cannot_be_recorded_says_what_to_type(stand_in, monkeypatch):
    def refuse(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_recorded", refuse)
    step = Captured(lambda x: x)
    for _ in range(WARM_UP):
        step(torch.zeros(2))
    with pytest.raises(TrainingError, match=r"capturing\): leave cuda_graphs=true out"):
        step(torch.zeros(2))


def trained(device: torch.device, recorded: bool, monkeypatch=None, recipe: Recipe = RECIPE):
    """(curves, weights and statistics) of a training; with ``monkeypatch``, the CPU passes for a device with graphs."""
    model = built(device)
    if monkeypatch is not None:
        monkeypatch.setattr(supervised, "captures", lambda _: recorded)
    with computing_as(Switches(cuda_graphs=recorded), device):
        curves = train(model, pictures(200), recipe, device=device, seed=3, test=pictures(40, seed=1))
    return curves, [value.detach().cpu() for value in model.state_dict().values()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_recorded_training_follows_its_schedule_and_ends_as_the_ordinary_one(
    stand_in, monkeypatch, optimizer
):
    """The learning rate falls within the recording, and the place that the stand-in draws from is the loop's own."""
    monkeypatch.setattr(graphs, "_recorded", lambda function, inputs, *_: (None, lambda: function(*inputs)))
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=0.01)
    real = supervised.make_optimizer
    monkeypatch.setattr(supervised, "make_optimizer", lambda *given: _on_cpu(real(*given)))
    one, weights = trained(CPU, False, monkeypatch, recipe)
    other, same = trained(CPU, True, monkeypatch, recipe)
    for mine, theirs in zip(weights, same, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)  # a fused step rounds otherwise
    assert one.train_accuracy == other.train_accuracy and len(one.train_loss) == 3


def test_a_learning_rate_that_is_recorded_changes_at_its_place():
    optimizer = make_optimizer(built(CPU).parameters(), RECIPE, recorded=True)
    place = optimizer.param_groups[0]["lr"]
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is place and float(place) == 0.25
    usual = make_optimizer(built(CPU).parameters(), RECIPE)
    set_learning_rate(usual, 0.25)
    assert usual.param_groups[0]["lr"] == 0.25 and not isinstance(usual.param_groups[0]["lr"], torch.Tensor)


@pytest.mark.cuda
def test_on_a_gpu_optimizers_are_fused_and_test_images_stay_there(monkeypatch):
    gpu = torch.device("cuda")
    assert make_optimizer(built(gpu).parameters(), RECIPE).defaults["fused"]
    seen, real = [], supervised.logits_of

    def noted(model, data, *rest):
        seen.append(data)
        return real(model, data, *rest)

    monkeypatch.setattr(supervised, "logits_of", noted)
    trained(gpu, False)
    assert len({id(data) for data in seen}) == 1 and seen[0].images.device.type == "cuda"


def test_on_a_cpu_nothing_is_copied_and_optimizers_step_as_they_always_did():
    data = pictures(8)
    assert resident(data, CPU) is data
    assert not make_optimizer(built(CPU).parameters(), RECIPE).defaults["fused"]


def _on_cpu(optimizer):
    """Capturable optimizers want a CUDA device."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = False
    return optimizer


def test_a_defense_that_acts_in_a_step_is_not_recorded(stand_in, monkeypatch):
    class Acts(Defense):
        def batch(self, images, targets, generator):
            return images.flip(3), targets

    class Once(Defense):
        def images_once(self, images):
            return images.flip(3)

    assert not Acts().leaves_steps_alone and Once().leaves_steps_alone and Defense().leaves_steps_alone
    monkeypatch.setattr(supervised, "captures", lambda _: True)
    train(built(CPU), pictures(200), RECIPE, device=CPU, seed=3, defense=Acts())
    assert not stand_in


def walked(device: torch.device, recorded: bool, monkeypatch=None) -> torch.Tensor:
    """The noise after two rounds, between which the surrogate changes."""
    data, model = pictures(100), built(device)
    if monkeypatch is not None:
        monkeypatch.setattr(crafting, "captures", lambda _: recorded)
    objective = Classification(data.labels.to(device))
    noise = ImageNoise(ResidentImages(data.images, device), objective, Walk(8 / 255, 1 / 255, 4), 30)
    with computing_as(Switches(cuda_graphs=recorded), device):
        for _ in range(2):
            with frozen(model):
                noise.improve(model)
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(-1)
    return noise.delta.cpu()


def test_recorded_noise_steps_are_the_ordinary_ones(stand_in, monkeypatch):
    ordinary = walked(CPU, False, monkeypatch)
    assert not stand_in and ordinary.abs().max() > 3.9 / 255
    assert torch.equal(walked(CPU, True, monkeypatch), ordinary)
    assert len(stand_in) == 2 * 3 * 4 - WARM_UP, "three batches of 30; the last of 10 is an ordinary call"


def test_compiled_passes_are_part_of_the_recipe_and_use_the_models_own_weights(monkeypatch):
    calls: list[int] = []

    def compiled(function):
        return lambda *given: calls.append(1) or function(*given)

    monkeypatch.setattr(torch, "compile", compiled)
    ordinary = trained(CPU, False)[1]
    assert not calls
    same = trained(CPU, False, recipe=dataclasses.replace(RECIPE, compile=True))[1]
    assert len(calls) == 3 * 4 and all(map(torch.equal, ordinary, same))


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("bf16", [False, True])
def test_on_a_gpu_a_recorded_training_equals_the_same_steps_one_by_one(monkeypatch, optimizer, bf16):
    """To the bit, 50 steps and more, with crops, flips, a falling learning rate and clipped gradients."""
    recipe = dataclasses.replace(RECIPE, epochs=13, optimizer=optimizer, learning_rate=0.01, bf16=bf16)
    curves, weights = trained(GPU, True, recipe=recipe)
    monkeypatch.setattr(graphs, "WARM_UP", 10**9)
    other, same = trained(GPU, True, recipe=recipe)
    assert all(map(torch.equal, weights, same)) and curves.train_loss == other.train_loss
    usual, _ = trained(GPU, False, recipe=recipe)
    assert abs(usual.train_loss[-1] - curves.train_loss[-1]) < 0.1, "other kernels, the same training"


@pytest.mark.cuda
def test_on_a_gpu_recorded_noise_steps_equal_the_ordinary_ones():
    assert torch.equal(walked(GPU, True), walked(GPU, False))


@pytest.mark.cuda
def test_on_a_gpu_a_dropped_recording_leaves_no_stream_behind():
    with contextlib.suppress(TrainingError):
        step = Captured(lambda x: x.cpu())
        for _ in range(WARM_UP + 1):
            step(torch.zeros(2, device=GPU))
    assert float(torch.ones(2, device=GPU).sum()) == 2.0
