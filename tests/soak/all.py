"""Every soak, one after the other, as results/soak.md has them; exits 1 if one of them found a fault.

    python tests/soak/all.py

The soaks of disks and clocks need root and Linux, that of Ray the extra ``ray``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAKS = (
    "kills.py kills=100",
    "ray_kills.py kills=50",
    "disk.py fault=full times=20",
    "disk.py fault=readonly times=10",
    "clocks.py kills=10",
    "job_array.py terminations=40",
    "malformed.py inputs=1000",
)


def main() -> int:
    """0 if every soak ended well."""
    failed = []
    for soak in SOAKS:
        print(f"\npython tests/soak/{soak}\n", flush=True)
        name, *words = soak.split()
        if subprocess.run([sys.executable, Path(__file__).with_name(name), *words]).returncode:
            failed.append(soak)
    print("\nfaults:", ", ".join(failed) or "none")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
