"""Every soak, one after the other, as results/soak.md has them; exits 1 if one of them found a fault.

    python tests/soak/all.py [NAME ...]

The soaks of disks and clocks need root and Linux, that of Ray the extra ``ray``. They are forked from this process, so
that imports take their time once; each is a script of its own, too.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys

SOAKS = (
    "kills kills=100",
    "clocks kills=10",
    "disk fault=full times=20",
    "disk fault=readonly times=10",
    "job_array terminations=40",
    "malformed inputs=1000",
    "ray_kills kills=50",
)


def main(names: list[str]) -> int:
    """0 if every soak ended well."""
    import watched_worker  # noqa: F401

    failed = []
    for soak in [soak for soak in SOAKS if not names or soak.split()[0] in names]:
        name, *words = soak.split()
        print(f"\n    python tests/soak/{name}.py {' '.join(words)}\n", flush=True)
        process = multiprocessing.get_context("fork").Process(target=_run, args=(name, words))
        process.start()
        process.join()
        if process.exitcode:
            failed.append(soak)
    print("\nfaults:", ", ".join(failed) or "none")
    return int(bool(failed))


def _run(name: str, words: list[str]) -> None:
    sys.exit(importlib.import_module(name).main(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
