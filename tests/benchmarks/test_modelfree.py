"""Speed of AR and SynPer: pytest tests/benchmarks/test_modelfree.py --override-ini addopts=

AR's ratio to a plain sequential scan of one image is measured in one run and stands in the extra information.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from ue_bench import Budget, ImageSet, ProtectorView
from ue_bench_methods import ar
from ue_bench_methods.ar import AR
from ue_bench_methods.synper import SynPer

IMAGES, CLASSES = 5000, 10


@pytest.fixture(scope="module", autouse=True)
def one_core():
    """Both sides of the ratio on one core; other work on the machine then disturbs least."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset() -> ImageSet:
    images = torch.zeros((IMAGES, 3, 32, 32), dtype=torch.uint8)
    return ImageSet(images, torch.arange(IMAGES) % CLASSES, None, tuple(map(str, range(CLASSES))))


@pytest.fixture(scope="module")
def process() -> torch.Tensor:
    return ar.search(1, torch.Generator().manual_seed(0))[0][0]


def one_image_sequentially(process: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noise of one 32-px image as the paper states it: pixel by pixel, channel by channel."""
    x = random.standard_normal((3, 36, 36))
    for i in range(2, 36):
        for j in range(2, 36):
            for channel in range(3):
                x[channel, i, j] = np.sum(process[channel] * x[channel, i - 2 : i + 1, j - 2 : j + 1])
    noise = x[:, 4:, 4:]
    return noise / np.linalg.norm(noise)


def test_ar_noise_is_a_hundred_times_faster_than_image_by_image(benchmark, process):
    generator, random = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def batches() -> None:
        for _ in range(20):
            ar.scale(ar.generate(process, 128, (32, 32), 4, generator), Budget("l2", 1.0))

    one_image_sequentially(process.numpy(), random)
    start = time.perf_counter()
    for _ in range(10):
        one_image_sequentially(process.numpy(), random)
    sequential_seconds = (time.perf_counter() - start) / 10
    benchmark.pedantic(batches, rounds=5, warmup_rounds=1)
    vectorised_seconds = benchmark.stats.stats.min / (20 * 128)
    benchmark.extra_info["sequential_ms_per_image"] = 1e3 * sequential_seconds
    benchmark.extra_info["vectorised_ms_per_image"] = 1e3 * vectorised_seconds
    benchmark.extra_info["ratio"] = sequential_seconds / vectorised_seconds
    assert sequential_seconds / vectorised_seconds >= 100


def test_ar_search_for_ten_classes(benchmark):
    _, tried = benchmark.pedantic(lambda: ar.search(10, torch.Generator().manual_seed(0)), rounds=1)
    benchmark.extra_info["candidates"] = tried


@pytest.mark.parametrize("method", [AR(threshold=3.0), SynPer()], ids=["ar", "synper"])
def test_protect_five_thousand_images(benchmark, method, dataset, make_context):
    def protect():
        return method.protect(ProtectorView(dataset, method.access), make_context())

    perturbation = benchmark.pedantic(protect, rounds=2, warmup_rounds=1)
    perturbation.check(IMAGES, (32, 32))
    benchmark.extra_info["ms_per_image"] = 1e3 * benchmark.stats.stats.min / IMAGES
