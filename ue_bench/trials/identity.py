"""Which process wrote something, and whether it still runs, as far as this machine can tell."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

from ue_bench.canonical import digest


@functools.lru_cache(maxsize=1)
def place() -> str:
    """A word for this machine since it started, and for the part of it whose process numbers are seen here."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return digest([boot, os.stat("/proc/self/ns/pid").st_ino], 8)
    except OSError:
        return digest(socket.gethostname(), 8)


def mark() -> str:
    """This process in a word that fits a file's name: place, number, and when it started."""
    return f"{place()}-{os.getpid()}-{_started(os.getpid())}"


def is_gone(word: str) -> bool | None:
    """Whether the process of a ``mark`` has ended; None if it runs elsewhere, or the word is none."""
    where, _, rest = word.partition("-")
    number, _, started = rest.partition("-")
    if where != place() or not number.isdigit():
        return None
    now = _started(int(number))
    return now is None or (started.isdigit() and str(now) != started)


def _started(number: int) -> int | None:
    """When a process started, in ticks of the system's clock, 0 where that is not told; None if there is none."""
    try:
        told = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return 0 if _exists(number) else None
    except OSError:
        return None  # it ended while it was being read
    return None if told[0] == "Z" else int(told[19])


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
