"""Kills runs and their workers at random moments, and counts what was lost.

    python tests/soak/kills.py [kills=100] [drivers=2] [workers=2] [seed=0] [seeds=100] [minutes=600]

Two drivers with two workers each work on one store. At random moments a driver or one of its workers is killed
(SIGKILL), and a killed driver is started again. Prints a Markdown table; exits 1 if a count that must be 0 is not.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from counting import Scene, numbers


def main(words: list[str]) -> int:
    """0 if nothing was lost, done twice or left behind."""
    given = numbers(words, kills=100, drivers=2, workers=2, seed=0, seeds=100, minutes=600)
    chance, killed = random.Random(given["seed"]), {"driver": 0, "worker": 0}
    with tempfile.TemporaryDirectory() as name:
        scene = Scene(Path(name), Path(name, "store"))
        line = f"workers={given['workers']}", f"seeds={given['seeds']}"
        end = time.monotonic() + 60 * given["minutes"]
        runs = [scene.start(*line) for _ in range(given["drivers"])]
        while sum(killed.values()) < given["kills"] and time.monotonic() < end:
            seen = len(scene.told())
            while len(scene.told()) == seen and time.monotonic() < end:
                time.sleep(0.25)
            time.sleep(chance.uniform(0, 2))
            number = chance.randrange(len(runs))
            victims = scene.workers_of(runs[number])
            if not runs[number].is_alive():  # everything is done
                break
            if chance.random() < 0.3:
                runs[number].kill()
                runs[number].join()
                killed["driver"] += 1
                runs[number] = scene.start(*line)
            elif victims:
                os.kill(chance.choice(victims), signal.SIGKILL)
                killed["worker"] += 1
        for run in runs:  # the rest need not be done: what was begun is given up, and counted
            run.terminate()
            run.join()
        return scene.finish({"kills of runs": killed["driver"], "of workers": killed["worker"]})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
