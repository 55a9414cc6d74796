"""Identifies the process that wrote something, and tells whether it still runs, if this machine can know."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

from ue_bench.canonical import digest


@functools.lru_cache(maxsize=1)
def place() -> str:
    """A word for this machine since its last start, and for the namespace of its process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return digest([boot, os.stat("/proc/self/ns/pid").st_ino], 8)
    except OSError:
        return digest(socket.gethostname(), 8)


def mark() -> str:
    """A word for this process that can be part of a file name: place, process number, and start time."""
    return f"{place()}-{os.getpid()}-{_started(os.getpid())}"


def is_gone(word: str) -> bool | None:
    """Whether the process of a ``mark`` has ended; None if it runs elsewhere, or if the word is not a mark."""
    where, _, rest = word.partition("-")
    number, _, started = rest.partition("-")
    if where != place() or not number.isdigit():
        return None
    now = _started(int(number))
    return now is None or (started.isdigit() and str(now) != started)


def _started(number: int) -> int | None:
    """When a process started, in ticks of the system's clock; 0 if that is unknown; None without such a process."""
    try:
        told = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return 0 if _exists(number) else None
    except OSError:
        return None  # the process ended while it was being read
    return None if told[0] == "Z" else int(told[19])


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
