"""What claiming a piece of work and giving it up costs on a local folder: far below 20 ms a trial."""

from __future__ import annotations

from ue_bench.trials.claims import Claims


def test_claiming(benchmark, tmp_path):
    claims, numbers = Claims(tmp_path), iter(range(10**9))

    def once():
        with claims.held(f"trial-{next(numbers)}"):
            assert claims.holds(f"trial-{0}") in (True, False)

    benchmark(once)
