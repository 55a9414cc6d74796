"""Keeps the state of long loops from time to time, so that work that was killed goes on where it was."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ue_bench.canonical import digest
from ue_bench.clock import Clock, Pair, device_share
from ue_bench.errors import DamagedError, StoreError
from ue_bench.progress import Progress

Item = TypeVar("Item")

SHARE = 20  # writing states takes at most 1/SHARE of the time
CONSTANTS = (str, int, float, bool, tuple, type(None))


class Place(Protocol):
    """Where states are kept. Every store has one."""

    def load(self, name: str, device: torch.device) -> dict[str, Any] | None:
        """The state of that name, or None; raises DamagedError if it is not as it was written."""

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Keeps a state in place of the one before; raises StoreError if that is not possible."""

    def remove(self, work: str) -> None:
        """Removes all states of a piece of work."""


@dataclass
class _Loop:
    """A running loop: what it changes, how far it is, and whether a killed run could repeat its present item."""

    label: str
    ordinal: int  # its place among the loops of that label in the same item of the enclosing loop
    parts: Mapping[str, Any]
    before: dict[str, Pair]  # what had been spent when it began
    number: int = 0  # the present item, counted from 0
    again: bool = True  # whether a killed run would start the present item again
    began: float = 0.0
    took: float = 0.0  # seconds that the last item took
    inside: Counter[str] = field(default_factory=Counter)


@dataclass
class Checkpoints:
    """The states of one piece of work. Without a place, nothing is ever kept.

    Loops may be nested. Every ``minutes`` minutes the innermost running loop writes its state between two items, but
    only if a killed run would start the present items of the enclosing loops again. An enclosing loop writes its own
    state before an item that will take longer than the time until the next state.

    Attributes:
        place: where states are kept, or None.
        clock: times the work; a resumed loop adds what was spent on it before.
        work: a name for the work: ``trial-ID``, ``noise-KEY`` or ``prepared-KEY``.
        minutes: how many pass from one state to the next.
        code: a hash of all code that does the work; states that other code wrote are not used.
        now: seconds on a clock that never goes back.
        resumed: for each loop that went on from a state, its label and how many items were done.
    """

    place: Place | None = None
    clock: Clock | None = None
    work: str = ""
    minutes: float = 10.0
    code: str = ""
    now: Callable[[], float] = time.monotonic
    resumed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._last, self._writing = self.now(), 0.0
        self._loops: list[_Loop] = []
        self._outermost: Counter[str] = Counter()

    @contextlib.contextmanager
    def of(self, work: str) -> Iterator[None]:
        """Another piece of work, whose states are removed at the end of the block; they stay if it is interrupted."""
        before = self.work, self._loops, self._outermost
        self.work, self._loops, self._outermost = work, [], Counter()
        try:
            yield
        except Exception as error:
            if not isinstance(error, StoreError):
                self.remove()
            raise
        else:
            self.remove()
        finally:
            self.work, self._loops, self._outermost = before

    def remove(self) -> None:
        """Removes all states of the work."""
        if self.place is not None:
            self.place.remove(self.work)

    def track(
        self, items: Sequence[Item], label: str, progress: Progress, *, bar: bool = True, **parts: Any
    ) -> Iterator[Item]:
        """Passes ``items`` through, from the first one that was not done before the work was killed.

        Args:
            items: the same ones in every run.
            label: what one item is called.
            progress: shows the loop, and says where it goes on.
            bar: False for a loop that is too short to be shown.
            parts: everything that an item changes and later items, or the code after the loop, need. Tensors, lists,
                dictionaries and whatever has ``state_dict`` and ``load_state_dict`` are restored in place, generators
                of torch and the process's own randomness, too. Text, numbers and tuples must be as they were, else the
                state is not used.
        """
        for name, part in parts.items():
            if not (isinstance(part, (Tensor, torch.Generator, list, dict, *CONSTANTS)) or _has_state(part)):
                raise TypeError(f"{name} is a {type(part).__name__}, which has no state_dict to restore")
        shown = progress.track if bar else Progress().track
        if self.place is None:
            yield from shown(items, label)
            return
        loop = self._enter(label, parts)
        try:
            first = self._resume(loop, progress)
            for number, item in enumerate(shown(items[first:], label), first):
                self._begin(loop, number, first, progress)
                yield item
        finally:
            self._loops = [other for other in self._loops if other is not loop]

    def _enter(self, label: str, parts: Mapping[str, Any]) -> _Loop:
        assert self.clock is not None
        siblings = self._loops[-1].inside if self._loops else self._outermost
        siblings[label] += 1
        loop = _Loop(label, siblings[label], parts, self.clock.so_far())
        self._loops.append(loop)
        return loop

    def _begin(self, loop: _Loop, number: int, first: int, progress: Progress) -> None:
        """Before an item: writes the state if it is time."""
        now = self.now()
        if number > first:
            loop.took = now - loop.began
        loop.number, loop.again, loop.began = number, number == first, now
        loop.inside.clear()
        left = max(60 * self.minutes, SHARE * self._writing) - (now - self._last)
        if not loop.again and loop.took >= left and all(other.again for other in self._loops[:-1]):
            self._save(loop, progress)

    def _name(self) -> str:
        return f"{self.work}.{digest([[loop.label, loop.ordinal] for loop in self._loops], 8)}"

    def _around(self) -> list[int]:
        """The present items of the loops around the innermost one."""
        return [loop.number for loop in self._loops[:-1]]

    def _save(self, loop: _Loop, progress: Progress) -> None:
        assert self.clock is not None and self.place is not None
        start = self.now()
        with self.clock.paused():
            state = {
                "code": self.code,
                "around": self._around(),
                "number": loop.number,
                "parts": {name: _state_of(part) for name, part in loop.parts.items()},
                "random": _randomness(self.clock.device),
                "spent": _since(loop.before, self.clock.so_far()),
                "peak_bytes": self.clock.peak_bytes,
                "share": device_share(),
            }
            try:
                self.place.save(self._name(), state)
                loop.again = True
            except StoreError as error:
                progress.say(f"    warning: no checkpoint was written, and the work goes on: {error}")
        self._last = self.now()
        self._writing = self._last - start

    def _resume(self, loop: _Loop, progress: Progress) -> int:
        """Restores what was kept of the loop; returns how many of its items are done."""
        assert self.clock is not None and self.place is not None
        name = self._name()
        try:
            state = self.place.load(name, self.clock.device)
        except DamagedError as error:
            progress.say(f"    warning: {error}; the work starts from the beginning")
            return 0
        if state is None or state["around"] != self._around():
            return 0
        parts = state["parts"]
        same = parts.keys() == loop.parts.keys() and all(
            parts[name] == part for name, part in loop.parts.items() if isinstance(part, CONSTANTS)
        )
        if state["code"] != self.code or not same:
            progress.say(f"    the checkpoint {name} was made by other code or settings, so it is not used")
            return 0
        for key, part in loop.parts.items():
            _restore(part, parts[key])
        _set_randomness(state["random"], self.clock.device)
        for phase, (seconds, device_seconds) in state["spent"].items():
            self.clock.add(phase, seconds, device_seconds, state["share"])
            self.clock.add_flop(phase, None)
        self.clock.peak_bytes = max(self.clock.peak_bytes, state["peak_bytes"])
        self._last = self.now()
        self.resumed.append(f"{loop.label} {state['number']}")
        progress.say(f"    continues after {loop.label} {state['number']}, from a checkpoint")
        return int(state["number"])


def _has_state(part: Any) -> bool:
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


def _state_of(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, Tensor):
        return part.detach()
    return part.state_dict() if _has_state(part) else part


def _restore(part: Any, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state.cpu())
    elif isinstance(part, Tensor):
        with torch.no_grad():
            part.copy_(state)
    elif isinstance(part, list):
        part[:] = state
    elif isinstance(part, dict):
        part.clear()
        part.update(state)
    elif not isinstance(part, CONSTANTS):
        part.load_state_dict(state)


def _randomness(device: torch.device) -> dict[str, Any]:
    """The states of all generators that the process shares."""
    state: Any = np.random.get_state()
    kind, keys, *rest = state
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _set_randomness(states: Mapping[str, Any], device: torch.device) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)


def _since(before: Mapping[str, Pair], now: Mapping[str, Pair]) -> dict[str, Pair]:
    """Seconds and device seconds by phase that were spent in between."""
    start = {phase: before.get(phase, (0.0, 0.0)) for phase in now}
    return {phase: (now[phase][0] - start[phase][0], now[phase][1] - start[phase][1]) for phase in now}
