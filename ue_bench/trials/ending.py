"""How a run ends on SIGTERM, which schedulers send before they kill: like Ctrl-C, and within five seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

GRACE = 4.0  # seconds until a run ends that is busy in a library and cannot be interrupted
STATUS = 128 + signal.SIGTERM  # of the process, as a shell tells it


class Terminated(KeyboardInterrupt):
    """The process was sent SIGTERM."""


@contextlib.contextmanager
def heeding_sigterm(give_up: Callable[[], object]) -> Iterator[None]:
    """Raises Terminated in the block on SIGTERM; where that helps nothing for ``GRACE`` seconds, the process ends.

    Args:
        give_up: called in another thread before the process ends in that way.
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
    """Reads the numbers of the signals that arrive, whatever the main thread does, until the block has ended."""
    while numbers := signals.recv(64):
        if signal.SIGTERM in numbers:
            end = time.monotonic() + GRACE
            signals.settimeout(GRACE)
            with contextlib.suppress(TimeoutError):
                while signals.recv(64):
                    signals.settimeout(max(0.01, end - time.monotonic()))
                return  # the block has ended in time
            give_up()
            os._exit(STATUS)
