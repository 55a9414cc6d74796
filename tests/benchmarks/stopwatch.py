"""Time inside some calls of a run, measured by the run itself."""

from __future__ import annotations

import time

import torch

from ue_bench.clock import synchronise

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Stopwatch:
    """Seconds inside the outermost of the calls that it wraps."""

    def __init__(self) -> None:
        self.seconds, self.depth = 0.0, 0

    def wrap(self, call):
        def timed(*words, **more):
            if self.depth:
                return call(*words, **more)
            self.depth += 1
            synchronise(DEVICE)
            start = time.perf_counter()
            try:
                return call(*words, **more)
            finally:
                synchronise(DEVICE)
                self.seconds += time.perf_counter() - start
                self.depth -= 1

        return timed
