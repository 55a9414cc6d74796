"""How fast a piece of work was, as records keep it: images a second, operations, share of the device's peak."""

from __future__ import annotations

from typing import Any

from ue_bench.clock import Clock
from ue_bench.training.peak import peak_flop

PHASES = ("prepare", "protect", "train", "evaluate")


def speed_of(clock: Clock) -> dict[str, dict[str, float]]:
    """{phase: figures} of the phases that this clock timed alone on its device; call it when they have ended.

    Figures: ``images`` and ``images_per_second``, of the training or test set once an epoch, of the protected set once
    for all rounds; ``flop`` of the networks of the victims registry and ``peak_percent``, the share of the phase that
    they would take at the device's measured peak. A figure that was not counted is left out.
    """
    found = {}
    for phase in PHASES:
        seconds = clock.seconds.get(phase, 0.0)
        if seconds > 0 and phase not in clock.shared and (figures := _figures(clock, phase, seconds)):
            found[phase] = figures
    return found


def _figures(clock: Clock, phase: str, seconds: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if images := clock.images.get(phase):
        figures |= {"images": images, "images_per_second": images / seconds}
    if flop := clock.flop.get(phase):
        at_peak = sum(count / peak_flop(clock.device, dtype) for dtype, count in flop.items())
        figures |= {"flop": sum(flop.values()), "peak_percent": 100 * at_peak / seconds}
    return figures
