"""Ends a run on SIGTERM, which schedulers send before they kill: like Ctrl-C, and within five seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

GRACE = 4.0  # seconds after which a run ends that cannot be interrupted because a library is busy
STATUS = 128 + signal.SIGTERM  # the exit status of a process that SIGTERM ended, as shells report it


class Terminated(KeyboardInterrupt):
    """The process was sent SIGTERM."""


@contextlib.contextmanager
def heeding_sigterm(give_up: Callable[[], object]) -> Iterator[None]:
    """Raises Terminated in the block on SIGTERM; if the block does not end within ``GRACE`` seconds, ends the process.

    Args:
        give_up: called in another thread before the process is ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    handler: Any = signal.signal(signal.SIGTERM, _raise)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(ours, give_up), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGTERM, handler)
        theirs.close()


def _raise(number: int, frame: Any) -> None:
    raise Terminated


def _watch(signals: socket.socket, give_up: Callable[[], object]) -> None:
    """Reads the signals that arrive until the block has ended, even while the main thread is busy."""
    while numbers := signals.recv(64):
        if signal.SIGTERM in numbers:
            end = time.monotonic() + GRACE
            signals.settimeout(GRACE)
            with contextlib.suppress(TimeoutError):
                while signals.recv(64):
                    signals.settimeout(max(0.01, end - time.monotonic()))
                return  # the block has ended in time
            try:
                give_up()
            finally:  # whatever it meets, such as a disk that fails
                os._exit(STATUS)
