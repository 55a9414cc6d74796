"""The training loop against the loop that a user would otherwise write, in one run."""

from __future__ import annotations

import statistics

from ue_bench.bench.measuring import Request, measure
from ue_bench.trials.environment import Environment


def test_training_loop(benchmark):
    """Images a second of both loops with resnet_tiny, as ``ue-bench bench`` measures them."""
    made = benchmark.pedantic(
        measure, args=("resnet_tiny", {}, Request(32, 128, 30.0), Environment("", "auto")), rounds=1
    )
    benchmark.extra_info["images_per_second"] = {
        "ours": round(statistics.median(made.training)),
        "ordinary": round(statistics.median(made.ordinary)),
    }
    benchmark.extra_info["ratios"] = [round(ratio, 2) for ratio in made.ratios]
    print(benchmark.extra_info)
