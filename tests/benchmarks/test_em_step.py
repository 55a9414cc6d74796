"""One noise step of EM against the forward and backward passes that it cannot do without, in one run."""

from __future__ import annotations

import time

import torch

from ue_bench.crafting.noise import ImageNoise
from ue_bench.crafting.objectives import Classification
from ue_bench.crafting.pgd import Walk, frozen
from ue_bench.crafting.resident import ResidentImages
from ue_bench_victims.resnet_tiny import ResNetTiny

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH, STEPS = 512, 10


def test_em_step(benchmark):
    """The share of a noise step that is not the network's forward and backward."""
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    labels = (torch.arange(BATCH) % 10).to(DEVICE)
    model = ResNetTiny().build(10, (32, 32)).to(DEVICE).to(memory_format=torch.channels_last)
    resident = ResidentImages(images, DEVICE)
    objective = Classification(labels)
    noise = ImageNoise(resident, objective, Walk(8 / 255, 0.8 / 255, STEPS), BATCH)

    def network_only() -> None:
        shown = resident.take(slice(0, BATCH)).requires_grad_()
        for _ in range(STEPS):
            torch.autograd.grad(objective.loss(model, shown, slice(0, BATCH)), shown)

    def timed(work) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            work()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return best

    with frozen(model):
        noise.improve(model)
        whole, network = timed(lambda: noise.improve(model)), timed(network_only)
        benchmark.extra_info["seconds_per_image_and_step"] = whole / BATCH / STEPS
        benchmark.extra_info["overhead_share"] = round(1 - network / whole, 3)
        print(benchmark.extra_info)
        benchmark.pedantic(noise.improve, args=(model,), rounds=3)
