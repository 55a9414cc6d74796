"""What each method costs an image, and how much of that is not its networks' forward and backward passes.

    pytest tests/benchmarks/test_noise_step.py --override-ini addopts= -s

Every pass through a surrogate is timed inside the run itself, by hooks around the module and around autograd, so that
the share is measured in one run; what remains is noise steps, projections, augmentation and bookkeeping.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from stopwatch import DEVICE, Stopwatch

from ue_bench import Context, ImageSet, ProtectorView
from ue_bench.clock import Clock
from ue_bench.contracts.ledger import Ledger
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.trials.environment import Environment

COUNT = 1024
REGISTRY = Registry()
SETTINGS = {  # one round or a few steps at the paper's batch size, with the small surrogate
    "em": {"surrogate": "resnet_tiny", "max_rounds": 1, "batch_size": 512},
    "emax": {"surrogate": "resnet_tiny", "surrogate_epochs": 1, "max_sweeps": 1, "batch_size": 512},
    "tap": {"surrogate": "resnet_tiny", "surrogate_epochs": 1, "iterations": 10, "restarts": 1},
    "uap": {"surrogate": "resnet_tiny", "surrogate_epochs": 1, "iterations": 10, "restarts": 1},
    "cp": {**REGISTRY.load("methods", "cp").presets["smoke"], "batch_size": 512, "granularity": "class"},
    "tue": REGISTRY.load("methods", "tue").presets["smoke"],
    "synper": {},
    "ar": {},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_noise_step(benchmark, monkeypatch, name):
    known = {field.name for field in dataclasses.fields(REGISTRY.load("methods", name))}
    assert set(SETTINGS[name]) <= known, set(SETTINGS[name]) - known
    method = REGISTRY.create("methods", name, SETTINGS[name])
    images = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8)
    data = ImageSet(images, torch.arange(COUNT) % 10, class_names=tuple("abcdefghij"))
    watch, environment = Stopwatch(), Environment("", str(DEVICE))
    monkeypatch.setattr(torch.autograd, "grad", watch.wrap(torch.autograd.grad))
    monkeypatch.setattr(torch.Tensor, "backward", watch.wrap(torch.Tensor.backward))

    def build(*words):
        model = environment.build_victim(*words)
        model.forward = watch.wrap(model.forward)
        return model

    def protect() -> Clock:
        clock = Clock(DEVICE)
        context = Context(DEVICE, 0, clock, Progress(), Ledger(build))
        with clock.phase("protect"):
            method.protect(ProtectorView(data, method.access), context)
        return clock

    protect()
    watch.seconds = 0.0
    whole = protect().seconds
    total = sum(whole.values())
    benchmark.extra_info["method"] = name
    benchmark.extra_info["ms_per_image"] = round(1000 * total / COUNT, 3)
    benchmark.extra_info["share_outside_networks"] = round(1 - watch.seconds / total, 3)
    print(dict(benchmark.extra_info))
    benchmark.pedantic(protect, rounds=1)
