"""What a T2UE noise costs at 256 pixels: the plain forward pass against the one that makes noise, in one run.

    pytest tests/benchmarks/test_t2ue.py --override-ini addopts= -s

Both take turns, so that other work on the machine disturbs them alike; the ratio is of the best of each. The plain pass
is the network as SSA-GAN's authors run it: evaluation mode, no gradients, channels first, batches of four.
"""

from __future__ import annotations

import time

import pytest
import torch

from ue_bench.clock import synchronise
from ue_bench_methods._t2ue.generator import SSAGAN
from ue_bench_methods._t2ue.synthesis import Synthesiser

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 4
ROUNDS = 3


@pytest.fixture(scope="module", autouse=True)
def one_core():
    """Both sides of the ratio on one core; other work on the machine then disturbs least."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network() -> SSAGAN:
    """T2UE's own size with weights that are no zeros."""
    torch.manual_seed(0)
    network = SSAGAN(64, 512, 256).to(DEVICE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("strength"):
                weight.fill_(0.5)
            if "gain.2" in name or "shift.2" in name:
                weight.normal_(0, 0.05)
    return network.eval()


def seconds(work) -> float:
    synchronise(DEVICE)
    start = time.perf_counter()
    work()
    synchronise(DEVICE)
    return time.perf_counter() - start


def test_a_noise_of_256_pixels(benchmark, network):
    latent, text = torch.randn(BATCH, 100, device=DEVICE), torch.randn(BATCH, 512, device=DEVICE)
    make = Synthesiser(network)

    @torch.inference_mode()
    def plain():
        return network(latent, text)

    def fast():
        return make(latent, text)

    apart = float((plain() - fast()).abs().max()) * 8 / 255
    times = [(seconds(plain), seconds(fast)) for _ in range(ROUNDS)]
    best = [min(column) for column in zip(*times, strict=True)]
    benchmark.extra_info["plain_seconds_per_noise"] = round(best[0] / BATCH, 4)
    benchmark.extra_info["fast_seconds_per_noise"] = round(best[1] / BATCH, 4)
    benchmark.extra_info["ratio"] = round(best[0] / best[1], 2)
    benchmark.extra_info["ratio_of_each_round"] = [round(one / two, 2) for one, two in times]
    benchmark.extra_info["largest_difference"] = apart
    benchmark.extra_info["device"] = str(DEVICE)
    print(dict(benchmark.extra_info))
    benchmark.pedantic(fast, rounds=1)
    assert apart < 1e-4, "in [0, 1] pixel units at a radius of 8/255"
