"""Operations of networks, counted by hand, and the measured peak of the device."""

from __future__ import annotations

import json

import pytest
import torch
from captioned import build_victim as build_clip
from conftest import CPU
from torch import nn

from ue_bench.clock import Clock
from ue_bench.training import machine, peak
from ue_bench.training.flop import Flop, flop_of, watch

CONVOLUTION = 2 * 8 * 8 * 4 * 3 * 3 * 3  # per image: 8 x 8 places, 4 channels from 3 by a 3 x 3 kernel
LINEAR = 2 * 4 * 8 * 8 * 10


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(256, 10)
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "cache"))
    machine._found.clear()
    yield tmp_path / "cache"
    machine._found.clear()


def test_operations_by_hand_and_the_network_stays_as_it_was():
    """The gradient of the first layer's input is computed for noise only, those of weights for training only."""
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    found = flop_of(model, ["by hand"], torch.zeros(2, 3, 8, 8))
    assert torch.equal(torch.rand(3), drawn), "nothing is drawn from the process's randomness"
    forward = CONVOLUTION + LINEAR
    assert found == Flop(
        forward, training=forward + CONVOLUTION + 2 * LINEAR, noise=forward + CONVOLUTION + LINEAR
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_a_network_is_counted_once_a_process_and_a_broken_one_not_at_all():
    calls = []

    class Broken(nn.Module):
        def forward(self, images):
            calls.append(len(images))
            raise ValueError("no")

    assert flop_of(Broken(), ["broken"], torch.zeros(2, 3, 8, 8)) is None
    assert flop_of(Broken(), ["broken"], torch.zeros(2, 3, 8, 8)) is None
    assert len(calls) == 1


def test_calls_count_in_the_phase_that_they_belong_to():
    clock, model, images = Clock(CPU), network(), torch.rand(5, 3, 8, 8)
    with clock.phase("train"):
        watch(model, ["by hand"], (8, 8), clock)
        model(images)
    with clock.phase("protect"):
        model(images.clone().requires_grad_())
    with clock.phase("evaluate"), torch.no_grad():
        model(images)
    model(images)  # in no phase
    forward = CONVOLUTION + LINEAR
    assert clock.flop == {
        "train": {"float32": 5 * (forward + CONVOLUTION + 2 * LINEAR)},
        "protect": {"float32": 5 * (forward + CONVOLUTION + LINEAR)},
        "evaluate": {"float32": 5 * forward},
    }


def test_frozen_weights_need_no_backward_pass_and_autocast_counts_as_bf16():
    clock, model = Clock(CPU), network()
    watch(model, ["by hand"], (8, 8), clock)
    model.requires_grad_(False)
    with clock.phase("protect"), torch.autocast("cpu", torch.bfloat16):
        model(torch.rand(5, 3, 8, 8))
    assert clock.flop == {"protect": {"bfloat16": 5 * (CONVOLUTION + LINEAR)}}


def test_captions_count_by_their_length():
    clock, towers = Clock(CPU), build_clip("", 0, (32, 32), 0)
    watch(towers, ["clip"], (32, 32), clock)
    tokens = towers.tokenize(["one", "two", "three"])
    spent = []
    for given in (tokens, tokens[:, :11]):
        with clock.phase("evaluate"), torch.no_grad():
            towers.encode_text(given)
        spent.append(sum(clock.flop.pop("evaluate").values()))
    assert spent[0] > 0 and spent[1] == pytest.approx(spent[0] * 11 / 77)
    with clock.phase("evaluate"), torch.no_grad():
        towers.encode_image(torch.rand(3, 3, 32, 32))
    assert clock.flop["evaluate"]["float32"] > 0


def test_what_is_not_known_stays_unknown():
    clock = Clock(CPU)
    clock.add_flop("prepare", None)  # such as work that an earlier version kept
    clock.add_flop("prepare", {"float32": 7.0})
    clock.add_flop("protect", {"float32": 7.0})
    clock.add_flop("protect", {"float32": 1.0, "bfloat16": 2.0})
    assert clock.flop == {"prepare": None, "protect": {"float32": 8.0, "bfloat16": 2.0}}


def test_the_peak_is_measured_once_and_kept_with_what_it_belongs_to(cache, monkeypatch):
    measured = []
    monkeypatch.setattr(peak, "measure_peak", lambda device, dtype: measured.append(dtype) or 5e9)
    assert peak.peak_flop(CPU, "float32") == peak.peak_flop(CPU, "float32") == 5e9
    machine._found.clear()  # another process
    assert peak.peak_flop(CPU, "float32") == 5e9 and len(measured) == 1
    (path,) = (cache / "peaks").iterdir()
    kept = json.loads(path.read_text())
    assert kept["name"] and kept["threads"] == torch.get_num_threads() and kept["dtype"] == "float32"
    peak.peak_flop(CPU, "bfloat16")
    assert measured == [torch.float32, torch.bfloat16]
    path.write_text("{")
    machine._found.clear()
    assert peak.peak_flop(CPU, "float32") == 5e9 and len(measured) == 3, "a damaged file is made again"


def test_a_cache_that_cannot_be_written_ends_nothing(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(peak, "measure_peak", lambda device, dtype: 5e9)
    assert peak.peak_flop(CPU, "float32") == 5e9


def test_the_peak_is_that_of_a_matrix_product(monkeypatch):
    """A clock that gives each product a second or two: of 64 rows, 2 x 64^3 operations in the faster one."""
    monkeypatch.setattr(peak, "SIDES", {"cpu": (64,)})
    monkeypatch.setattr(peak, "SECONDS", 0.0)
    times = iter([0.0, 2.0, 10.0, 11.0, 20.0, 22.0])
    monkeypatch.setattr(peak, "_now", lambda device: next(times))
    assert peak.measure_peak(CPU, torch.float32) == 2 * 64**3
