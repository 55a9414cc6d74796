"""Kills two runs whose clocks are an hour apart, as on two machines, and counts what was lost.

    python tests/soak/clocks.py [kills=10] [hours=1] [lease=30] [seed=0] [seeds=20] [minutes=600]

Each run has process numbers of its own (which needs root and Linux), so that it takes the other's processes for those
of another machine: a claim there is dead only when its lease has passed. That of this soak is short, and every tenth
training takes longer than it. All that Python tells one of the runs of the time is an hour ahead. After so many kills
(SIGKILL) both runs go on until everything is done. Prints a Markdown table; exits 1 if a count that must be 0 is not.
"""

from __future__ import annotations

import ctypes
import datetime
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from counting import Scene, numbers

NEW_MOUNTS, NEW_PROCESS_NUMBERS, DIE_WITH_PARENT = 0x20000, 0x20000000, 1  # of Linux


def on_another_machine(ahead: float, lease: float) -> None:
    """Goes on in a process that sees none but itself, with another clock and lease."""
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(NEW_MOUNTS | NEW_PROCESS_NUMBERS):
        raise OSError(ctypes.get_errno(), "unshare")
    if child := os.fork():
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    system.prctl(DIE_WITH_PARENT, signal.SIGKILL)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    _change_clock(ahead)
    _change_claims(lease)


def _change_clock(ahead: float) -> None:
    now = time.time
    time.time = lambda: now() + ahead

    class Ahead(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return cls.fromtimestamp(time.time(), zone)

    datetime.datetime = Ahead


def _change_claims(lease: float) -> None:
    from ue_bench.trials import claims, identity, work

    identity.place.cache_clear()
    claims.Claims.__init__.__defaults__ = ("", lease)
    evaluate, chance = work.evaluate, random.SystemRandom()

    def slow(*what):
        if chance.random() < 0.1:
            time.sleep(2 * lease)  # which only a claim that is touched outlives
        return evaluate(*what)

    work.evaluate = slow


def main(words: list[str]) -> int:
    """0 if nothing was lost, done twice or left behind."""
    given = numbers(words, kills=10, hours=1, lease=30, seed=0, seeds=20, minutes=600)
    chance, killed = random.Random(given["seed"]), 0
    with tempfile.TemporaryDirectory() as name:
        scene = Scene(Path(name), Path(name, "store"))
        end = time.monotonic() + 60 * given["minutes"]
        firsts = [
            functools.partial(on_another_machine, ahead, given["lease"])
            for ahead in (0, 3600 * given["hours"])
        ]

        def start(number: int):
            return scene.start("workers=1", f"seeds={given['seeds']}", first=firsts[number])

        runs = [start(number) for number in range(2)]
        while killed < given["kills"] and time.monotonic() < end:
            seen = len(scene.told())
            while len(scene.told()) == seen and all(run.is_alive() for run in runs):
                time.sleep(0.25)
            time.sleep(chance.uniform(0, 5))
            if not all(run.is_alive() for run in runs):
                break
            number = chance.randrange(2)
            runs[number].kill()
            runs[number].join()
            killed += 1
            runs[number] = start(number)
        for run in runs:
            run.join()
        ended = [run.exitcode for run in runs]
        return scene.finish({"kills of runs": killed, "hours apart": given["hours"]}) or int(any(ended))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
