"""Runs every suite, one after another in one store, with no data set, no network and an empty home.

    python tests/all_suites.py [profile=quick] [store=DIR] [suite=NAME ...]

Prints what each suite took, its clean and its T2UE result, and exits 1 unless every suite ended with 0 and a table
without a missing or invalid cell. tests/trials/test_all_suites.py does the same in small.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What the command line runs under: whoever asks for an address learns that there is no network.
OFFLINE = """
import socket, sys
def refuse(*_, **__): raise OSError("no network in this test")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from ue_bench.cli import main
main(sys.argv[1:])
"""


@dataclass
class Ran:
    """How a suite's run ended.

    Attributes:
        status: exit status.
        report: its table as JSON, or {} if there is none.
        errors: what it printed to standard error.
        wall, core: seconds; core-seconds of the process.
    """

    status: int
    report: dict[str, Any]
    errors: str
    wall: float
    core: float

    def faults(self) -> list[str]:
        """What is wrong, in words."""
        if self.status or not self.report:
            return [f"exit {self.status}: {self.errors[-500:]}"]
        return faults_of(self.report)

    def result(self, method: str) -> str:
        """The means of a method's first row, such as ``89.2``, or ``-``."""
        for row in self.report.get("rows", []):
            if any(cell["method"] == method for cell in row["cells"]):
                means = [cell["mean"] for cell in row["cells"] if cell["mean"] is not None]
                return " ".join(f"{mean:.1f}" for mean in means[:6])
        return "-"


def faults_of(report: dict[str, Any]) -> list[str]:
    """Cells of a table, as JSON, that are missing or must not count, in words; clean data has no noise to measure."""
    found = [] if report["rows"] else ["no row"]
    for row in report["rows"]:
        name = "/".join(str(value) for value in row["keys"].values())
        found += [
            f"{name}: {cell['state']}"
            for cell in row["cells"]
            if cell["state"] not in ("done", "not measured")
        ]
        found += [f"{name}: {mark}" for mark in row["marks"] if mark == "invalid"]
    return found


def run_suite(name: str, profile: str, store: Path, home: Path) -> Ran:
    """Runs one suite as a person without data and network would."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("UE_BENCH_", "XDG_"))}
    environment = {**kept, "HOME": str(home)}
    words = ["run", f"suite={name}", f"profile={profile}", f"store={store}", "--format", "json"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, *words], env=environment, cwd=home, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        report = {}
    return Ran(done.returncode, report, done.stderr, time.monotonic() - start, core)


def main(words: list[str]) -> int:
    """0 if every suite went well."""
    from ue_bench.registry import Registry

    given = [word.partition("=")[::2] for word in words]
    settings = dict(given)
    suites = [value for key, value in given if key == "suite"] or Registry().names("suites")
    profile = settings.get("profile", "quick")
    print("| suite | exit | minutes | core-minutes | clean | t2ue |\n|:--|--:|--:|--:|:--|:--|", flush=True)
    faults: list[str] = []
    total = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(settings.get("store", Path(folder, "store"))).absolute()
        for name in suites:
            ran = run_suite(name, profile, store, Path(folder))
            times = f"{ran.wall / 60:.1f} | {ran.core / 60:.1f}"
            print(
                f"| {name} | {ran.status} | {times} | {ran.result('clean')} | {ran.result('t2ue')} |",
                flush=True,
            )
            faults += [f"{name}: {fault}" for fault in ran.faults()]
            total = [total[0] + ran.wall, total[1] + ran.core]
    print(f"| all | | {total[0] / 60:.1f} | {total[1] / 60:.1f} | | |")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
