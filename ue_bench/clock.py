"""Clocks that synchronise the device at both ends of a phase."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

Pair = tuple[float, float]  # seconds, device seconds


@dataclass
class _Phase:
    """A phase that has not ended.

    Attributes:
        start: on the clock.
        inner: what does not count: phases within it, and pauses.
    """

    name: str
    start: Pair
    inner: Pair = (0.0, 0.0)

    def until(self, end: Pair) -> tuple[Pair, Pair]:
        """(everything spent since its start, the part of it that counts)."""
        spent = end[0] - self.start[0], end[1] - self.start[1]
        return spent, (spent[0] - self.inner[0], spent[1] - self.inner[1])


_share = [1.0]


def share_device(share: float) -> None:
    """Notes that this process has only this share of its device (1: all of it), so that others slow it down."""
    _share[0] = share


def device_share() -> float:
    """The part of its device that this process has, above 0 and at most 1."""
    return _share[0]


@dataclass
class Clock:
    """Adds up the cost of each named phase. Phases may nest; an inner phase's time does not count for the outer one.

    Attributes:
        device: where the work runs; ``cuda`` devices are synchronised at both ends of a phase.
        seconds: wall-clock seconds by phase.
        device_seconds: device seconds by phase: on an accelerator the synchronised seconds for which it was held,
            on a CPU the core-seconds of this process (all threads).
        peak_bytes: the largest amount of device memory (accelerator) or process memory (CPU) in use.
        shared: phases timed while others used the device too, with the smallest share that this process had;
            their times are longer than the work takes alone.
        images: training or test images that went through a phase, where they were counted.
        flop: floating-point operations by phase and dtype, where they were counted; None for a phase of which a part
            was done elsewhere and not counted.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    device_seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    shared: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    flop: dict[str, dict[str, float] | None] = field(default_factory=dict)
    _stack: list[_Phase] = field(default_factory=list, repr=False)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the block under ``name``; on an exception the time spent so far still counts."""
        if not self._stack:
            reset_peak(self.device)
        self._stack.append(_Phase(name, self._now()))
        try:
            yield
        finally:
            end = self._now()
            spent, own = self._stack.pop().until(end)
            self.add(name, *own, device_share())
            self._leave_out(spent)
            self.peak_bytes = max(self.peak_bytes, peak(self.device))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in the block counts for no phase."""
        start = self._now()
        try:
            yield
        finally:
            end = self._now()
            self._leave_out((end[0] - start[0], end[1] - start[1]))

    def so_far(self) -> dict[str, Pair]:
        """(seconds, device seconds) by phase, those of phases that have not ended yet included."""
        found, inner = {name: self.spent(name) for name in self.seconds}, (0.0, 0.0)
        end = self._now()
        for phase in reversed(self._stack):
            spent, own = phase.until(end)
            before = found.get(phase.name, (0.0, 0.0))
            found[phase.name] = (before[0] + own[0] - inner[0], before[1] + own[1] - inner[1])
            inner = spent
        return found

    def spent(self, name: str) -> Pair:
        """(seconds, device seconds) of a phase so far."""
        return self.seconds.get(name, 0.0), self.device_seconds.get(name, 0.0)

    def add(self, name: str, seconds: float, device_seconds: float, share: float = 1.0) -> None:
        """Adds to a phase what another run spent on it earlier, and the share of the device that it had."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.device_seconds[name] = self.device_seconds.get(name, 0.0) + device_seconds
        if share < 1:
            self.shared[name] = min(share, self.shared.get(name, share))

    def count_flop(self, dtype: str, flop: float) -> None:
        """Counts operations of the present phase; outside phases nothing is counted."""
        if self._stack:
            self.add_flop(self._stack[-1].name, {dtype: flop})

    def counted(self) -> dict[str, float]:
        """Operations of the present phase so far, by dtype; {} outside phases and where they are not known."""
        return dict(self.flop.get(self._stack[-1].name) or {}) if self._stack else {}

    def add_flop(self, name: str, flop: Mapping[str, float] | None) -> None:
        """Adds operations by dtype to a phase; None: it is not known how many there were."""
        known = self.flop.setdefault(name, {})
        if known is None or flop is None:
            self.flop[name] = None
            return
        for dtype, count in flop.items():
            known[dtype] = known.get(dtype, 0.0) + count

    def _leave_out(self, spent: Pair) -> None:
        """Takes what an inner phase or a pause took from the phase around it."""
        if self._stack:
            inner = self._stack[-1].inner
            self._stack[-1].inner = (inner[0] + spent[0], inner[1] + spent[1])

    def _now(self) -> Pair:
        synchronise(self.device)
        wall = time.perf_counter()
        if self.device.type == "cpu":
            return wall, time.process_time()
        return wall, wall


def synchronise(device: torch.device) -> None:
    """Waits until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak(device: torch.device) -> None:
    """Resets the count of peak memory where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as handle:
            handle.write("5")


def peak(device: torch.device) -> int:
    """Peak memory in bytes since the last reset: the accelerator's, or this process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/status") as handle:
            for line in handle:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
