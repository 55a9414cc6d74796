"""Starts and terminates the runs of a job array at random moments, and counts what was lost.

    python tests/soak/job_array.py [terminations=40] [runs=8] [seed=0] [seeds=50] [minutes=600]

Eight runs with one worker each work on one store, as a Slurm array does. At random moments one is sent SIGTERM, and
another one takes its place. Prints a Markdown table; exits 1 if a count that must be 0 is not.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from counting import Scene, numbers

TERMINATED = 143  # the status of a run that SIGTERM ended
IN_TIME = 5.0  # seconds from SIGTERM to the end


def main(words: list[str]) -> int:
    """0 if nothing was lost, done twice or left behind, and every run ended as it should."""
    given = numbers(words, terminations=40, runs=8, seed=0, seeds=50, minutes=600)
    chance, statuses, slowest = random.Random(given["seed"]), [], 0.0
    with tempfile.TemporaryDirectory() as name:
        scene = Scene(Path(name), Path(name, "store"))
        line = "workers=1", f"seeds={given['seeds']}", "stop_after=10h"
        end = time.monotonic() + 60 * given["minutes"]
        runs = [scene.start(*line) for _ in range(given["runs"])]
        while len(statuses) < given["terminations"] and time.monotonic() < end:
            seen = len(scene.told())
            while len(scene.told()) == seen and time.monotonic() < end:
                time.sleep(0.25)
            time.sleep(chance.uniform(0, 3))
            number = chance.randrange(len(runs))
            if not runs[number].is_alive():
                raise SystemExit(f"a run ended by itself: {scene.errors.read_text()[-3000:]}")
            begun = time.monotonic()
            runs[number].terminate()
            runs[number].join()
            statuses.append(runs[number].exitcode)
            slowest = max(slowest, time.monotonic() - begun)
            runs[number] = scene.start(*line)
        for run in runs:
            run.terminate()
        for run in runs:
            run.join()
        # one that is terminated before it has begun to work ends as any process does
        other = sum(status not in (TERMINATED, -15) for status in statuses)
        made = {
            "terminated": len(statuses),
            "while they worked": statuses.count(TERMINATED),
            "ended otherwise": other,
            "seconds to the end, at most": f"{slowest:.1f}",
        }
        return scene.finish(made) or int(other > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
