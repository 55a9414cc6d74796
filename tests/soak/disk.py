"""Fills the disk below a store and frees it again, or makes it read-only for ten seconds, and counts what was lost.

    python tests/soak/disk.py fault=full [times=20] [drivers=2] [workers=2] [seed=0] [minutes=600]
    python tests/soak/disk.py fault=readonly [times=10] [seconds=10]

The store is a tmpfs of four megabytes, which only root may mount. A run ends when it cannot write, with status 2 and
a message; each is started again, sometimes while the disk is still full. Prints a Markdown table; exits 1 if a count
that must be 0 is not.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from counting import Scene, numbers

SIZE = 4 * 2**20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own in a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "soak", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """No room in the block, not even for what running work frees meanwhile."""
    with open(disk / "filler", "ab", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
    try:
        yield
    finally:
        (disk / "filler").unlink()


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Nothing can be written in the block."""
    while subprocess.run(["mount", "-o", "remount,ro", disk], stderr=subprocess.DEVNULL).returncode:
        time.sleep(0.01)  # a file is just being written
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def main(words: list[str]) -> int:
    """0 if nothing was lost, done twice or left behind, and every run ended as it should."""
    fault = "readonly" if "fault=readonly" in words else "full"
    rest = [word for word in words if not word.startswith("fault=")]
    given = numbers(rest, times=20, drivers=2, workers=2, seed=0, seeds=50, minutes=600, seconds=10)
    chance, ends, done = random.Random(given["seed"]), {2: 0}, 0
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name, "disk")):
        (Path(name, "scene")).mkdir()
        disk = Path(name, "disk")
        scene = Scene(Path(name, "scene"), disk / "store")
        line = f"workers={given['workers']}", f"seeds={given['seeds']}"
        end = time.monotonic() + 60 * given["minutes"]
        runs = [scene.start(*line) for _ in range(given["drivers"])]

        def restart() -> None:
            for number, run in enumerate(runs):
                if (status := run.exitcode) is not None:
                    ends[status] = ends.get(status, 0) + 1
                    runs[number] = scene.start(*line)

        while done < given["times"] and time.monotonic() < end:
            seen = len(scene.told())
            while len(scene.told()) == seen and time.monotonic() < end:
                time.sleep(0.25)
                restart()
            time.sleep(chance.uniform(0, 5))
            with full(disk) if fault == "full" else read_only(disk):
                time.sleep(given["seconds"] if fault == "readonly" else chance.uniform(0, 10))
                if chance.random() < 0.3:
                    restart()
            done += 1
            time.sleep(1)
            restart()
        for run in runs:
            run.terminate()
            run.join()
        other = sum(count for status, count in ends.items() if status != 2)
        made = {"times": done, "runs ended with status 2": ends[2], "otherwise": other}
        return scene.finish(made) or int(other > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
