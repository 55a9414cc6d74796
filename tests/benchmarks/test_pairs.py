"""Contrastive training and noise for pairs: how much of the time is not the model.

    pytest tests/benchmarks/test_pairs.py --override-ini addopts= -s

Passes through the towers, autograd and the optimizer are timed inside the run itself; what remains is fetching
images, adding noise, token ids, losses, projections and bookkeeping. Goal: under 10 %.
"""

from __future__ import annotations

import pytest
import torch
from stopwatch import DEVICE, Stopwatch

from ue_bench import Context, ImageSet, Perturbation, ProtectorView
from ue_bench.clock import Clock
from ue_bench.contracts.budget import Budget
from ue_bench.contracts.ledger import Ledger
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.training.contrastive import train_contrastive
from ue_bench.training.recipe import ContrastiveRecipe
from ue_bench.trials.environment import Environment
from ue_bench.trials.poison import publish_pairs

COUNT, CAPTIONS, SIZE = 256, 5, 64
ONE_ROUND = {"surrogate": "clip_tiny", "granularity": "pair", "rounds": 1, "model_steps": 5}


def data() -> ImageSet:
    """Random pictures with captions of about a dozen words."""
    images = torch.randint(0, 256, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8)
    text = "a man in a red shirt rides a bicycle along the beach number {}"
    captions = tuple(tuple(text.format(CAPTIONS * n + k) for k in range(CAPTIONS)) for n in range(COUNT))
    return ImageSet(images, captions=captions)


@pytest.fixture
def watch(monkeypatch) -> Stopwatch:
    found = Stopwatch()
    monkeypatch.setattr(torch.autograd, "grad", found.wrap(torch.autograd.grad))
    monkeypatch.setattr(torch.Tensor, "backward", found.wrap(torch.Tensor.backward))
    monkeypatch.setattr(torch.optim.AdamW, "step", found.wrap(torch.optim.AdamW.step))
    return found


def build(watch: Stopwatch, *words):
    towers = Environment("", str(DEVICE)).build_victim(*(words or ("clip_tiny", 0, (SIZE, SIZE), 0)))
    for name in ("encode_image", "encode_text"):
        setattr(towers, name, watch.wrap(getattr(towers, name)))
    return towers


def test_training_loop(benchmark, watch):
    clean = data()
    noise = torch.randint(-8, 9, (COUNT * CAPTIONS, 3, SIZE, SIZE), dtype=torch.int8)
    perturbation = Perturbation(noise, torch.arange(len(noise)), Budget("linf", 8))
    pairs, _ = publish_pairs(clean, perturbation, torch.ones(COUNT, dtype=torch.bool))
    towers, recipe = build(watch), ContrastiveRecipe(epochs=1, warmup_steps=0)

    def epoch() -> float:
        clock = Clock(DEVICE)
        train_contrastive(towers, pairs, recipe, device=DEVICE, seed=0, clock=clock)
        return clock.seconds["train"]

    epoch()
    watch.seconds = 0.0
    total = epoch()
    benchmark.extra_info["pairs_per_second"] = round(COUNT * CAPTIONS / total)
    benchmark.extra_info["share_outside_the_model"] = round(1 - watch.seconds / total, 3)
    print(dict(benchmark.extra_info))
    benchmark.pedantic(epoch, rounds=1)


@pytest.mark.parametrize("name", ["em", "mem", "uap"])
def test_noise(benchmark, watch, name):
    registry = Registry()
    known = registry.load("methods", name).__dataclass_fields__
    settings = {key: value for key, value in ONE_ROUND.items() if key in known} | (
        {"max_rounds": 1}
        if name == "em"
        else {"surrogate_epochs": 1}
        if name == "uap"
        else {"trigger_rounds": 1}
    )
    method, clean = registry.create("methods", name, settings, "contrastive"), data()

    def protect() -> float:
        clock = Clock(DEVICE)
        context = Context(DEVICE, 0, clock, Progress(), Ledger(lambda *words: build(watch, *words)))
        with clock.phase("protect"):
            method.protect(ProtectorView(clean, method.access, "contrastive"), context)
        return sum(clock.seconds.values())

    protect()
    watch.seconds = 0.0
    total = protect()
    benchmark.extra_info["method"] = name
    benchmark.extra_info["ms_per_noise"] = round(1000 * total / (COUNT * CAPTIONS), 2)
    benchmark.extra_info["share_outside_the_model"] = round(1 - watch.seconds / total, 3)
    print(dict(benchmark.extra_info))
    benchmark.pedantic(protect, rounds=1)
