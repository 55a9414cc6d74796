"""Kills runs at random moments until a suite is complete, and counts what was lost.

    python tests/soak/kills.py [kills=100] [drivers=2] [workers=2] [seed=0]

Two drivers with two workers each work on one store. At a random moment after each new record a driver or one of its
workers is killed (SIGKILL), and a killed driver is started again. Prints a Markdown table; exits 1 if a count that must
be 0 is not.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parents[2]
WATCH = """
import os, sys
from ue_bench.trials.store import Store
write = Store.write_record
def watched(self, record):
    write(self, record)
    line = os.open(os.environ["FINISHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, (record["id"] + " " + record["status"] + "\\n").encode())
Store.write_record = watched
"""


def start(store: Path, workers: int, seeds: int) -> subprocess.Popen:
    """A driver; what it and its workers finish is told in a file, for sitecustomize is read by all of them."""
    paths = os.pathsep.join([str(store.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "FINISHED": str(store.parent / "finished")}
    words = [f"plugins={TOP / 'tests' / 'content'}", f"store={store}", f"workers={workers}", f"seeds={seeds}"]
    command = [
        sys.executable,
        "-c",
        "import watch; from ue_bench.cli import main; main()",
        "run",
        "suite=toy",
        *words,
    ]
    errors = open(store.parent / "errors", "a")  # noqa: SIM115 - the process keeps it
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )


def workers_of(run: subprocess.Popen) -> list[int]:
    """The worker processes of a driver."""
    try:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:
        return []


def main(words: list[str]) -> int:
    """0 if nothing was lost, done twice or left behind."""
    given = {"kills": 100, "drivers": 2, "workers": 2, "seed": 0, "seeds": 500, "minutes": 600}
    given |= {key: int(value) for key, _, value in (word.partition("=") for word in words)}
    chance, killed = random.Random(given["seed"]), {"driver": 0, "worker": 0}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        Path(folder, "watch.py").write_text(WATCH)
        # workers read no script of their own: this file makes them watch, too
        Path(folder, "sitecustomize.py").write_text(
            "import sys\nif 'spawn_main' in ' '.join(sys.orig_argv): import watch\n"
        )
        end = time.monotonic() + 60 * given["minutes"]
        runs = [start(store, given["workers"], given["seeds"]) for _ in range(given["drivers"])]
        while sum(killed.values()) < given["kills"] and time.monotonic() < end:
            seen, pause = len(list(store.glob("trials/*.json"))), time.monotonic() + 60
            while len(list(store.glob("trials/*.json"))) == seen and time.monotonic() < pause:
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 2))
            number = chance.randrange(len(runs))
            victims = workers_of(runs[number])
            if victims and chance.random() < 0.7:
                os.kill(chance.choice(victims), signal.SIGKILL)
                killed["worker"] += 1
            elif victims:
                runs[number].kill()
                runs[number].wait()
                killed["driver"] += 1
                runs[number] = start(store, given["workers"], given["seeds"])
        for run in runs:  # the rest need not be done: what was begun is given up, and counted
            run.terminate()
            run.wait()
        told = [line.split() for line in Path(folder, "finished").read_text().splitlines()]
        ids = [trial for trial, status in told if status != "failed"]
        kept = {path.stem: json.loads(path.read_text()) for path in (store / "trials").glob("*.json")}
        left = [path.name for path in store.rglob("*") if path.suffix in (".tmp", ".claim")]
        counts = {
            "finished trials lost": len({*ids} - kept.keys()),
            "finished twice": len(ids) - len({*ids}),
            "tracebacks": Path(folder, "errors").read_text().count("Traceback"),
            "files left behind": len(left),
        }
        print(f"| kills of runs | of workers | trials finished | failed | {' | '.join(counts)} |")
        print(f"|{'--:|' * (4 + len(counts))}")
        failed = sum(record["status"] == "failed" for record in kept.values())
        numbers = [killed["driver"], killed["worker"], len(kept) - failed, failed, *counts.values()]
        print(f"| {' | '.join(map(str, numbers))} |")
        if left or counts["tracebacks"]:
            print(left, Path(folder, "errors").read_text()[-3000:], sep="\n", file=sys.stderr)
    return 1 if any(counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
