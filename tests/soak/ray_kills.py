"""Kills actors and nodes of a Ray cluster at random moments, and counts what was lost.

    python tests/soak/ray_kills.py [kills=50] [nodes=2] [seeds=100] [minutes=600] [seed=0]

One run works on a cluster of small nodes on this machine. At random moments an actor is killed (SIGKILL), or a node is
removed without grace and another one added. Prints a Markdown table; exits 1 if a count that must be 0 is not.
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
from collections import Counter
from pathlib import Path
from typing import Any

from counting import TOP, Scene, numbers

sys.path.append(str(TOP / "tests"))
# read by every Python that starts; Ray's processes are to tell what they finish
HOOK = """
import sys
if "default_worker" in " ".join(sys.orig_argv):
    import watch
"""


def actors_of(cluster: Any) -> list[int]:
    """The processes of the cluster's nodes that are actors."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes}
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and b"ray::Slot" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (OSError, ValueError):
            continue
    return found


def main(words: list[str]) -> int:
    """0 if nothing was lost, done twice or left behind."""
    from raylets import add_node, small_cluster

    given = numbers(words, kills=50, nodes=2, seeds=100, minutes=600, seed=0)
    chance, killed = random.Random(given["seed"]), Counter(actor=0, node=0)
    with tempfile.TemporaryDirectory() as name:
        Path(name, "sitecustomize.py").write_text(HOOK)
        before = [name, str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(before)
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves actors on a busy machine
        scene = Scene(Path(name), Path(name, "store"), forks=False)
        end = time.monotonic() + 60 * given["minutes"]
        with small_cluster(given["nodes"]) as cluster, open(scene.errors, "w") as errors:
            line = scene.words(
                f"seeds={given['seeds']}", "executor=ray", f"ray_address={cluster.address}", "workers=4"
            )
            command = [sys.executable, "-c", "from ue_bench.cli import main; main()", *line]
            run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
            seen = 0
            while killed.total() < given["kills"] and time.monotonic() < end and run.poll() is None:
                time.sleep(chance.uniform(0, 3))
                told = len(scene.told())
                actors = (
                    actors_of(cluster) if told > seen else []
                )  # something was finished since the last kill
                if not actors:
                    continue
                seen = told
                if chance.random() < 0.8:
                    os.kill(chance.choice(actors), signal.SIGKILL)
                    killed["actor"] += 1
                else:
                    cluster.remove_node(chance.choice(list(cluster.worker_nodes)), allow_graceful=False)
                    killed["node"] += 1
                    add_node(cluster)
            run.terminate()  # the rest need not be done: what was begun is given up, and counted
            run.wait()
            records = [json.loads(path.read_text()) for path in scene.store.glob("trials/*.json")]
            made = {
                "actors killed": killed["actor"],
                "nodes removed": killed["node"],
                "trials at a later attempt": sum(record["attempts"] > 1 for record in records),
                "failed": sum(record["status"] == "failed" for record in records),
            }
            return scene.finish(made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
