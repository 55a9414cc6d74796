"""Keeps pictures of noise beside records: ``python results/pictures.py STORE results/NAME``.

STORE is where a suite was run and still has its noise; NAME holds the same records without it. Each picture is one
small file, ``pictures/KEY.webp``, which the page of results shows.
"""

from __future__ import annotations

import sys

from ue_bench.gallery import thumbnails
from ue_bench.trials.environment import Environment
from ue_bench.trials.store import Store


def keep(source: str, target: str) -> list[str]:
    """Writes the picture of each method's noise that the target's plans name; returns their keys."""
    kept, written = Store(target), []
    for plan in kept.read_plans():
        records = kept.read_records(trial["id"] for trial in plan["trials"])
        for key, content in thumbnails(plan, records, Environment(source, "cpu", ())).items():
            kept.write(("pictures", f"{key}.webp"), content)
            written.append(key)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python results/pictures.py STORE results/NAME")
    print(f"{len(keep(*sys.argv[1:]))} pictures in {sys.argv[2]}/pictures")
