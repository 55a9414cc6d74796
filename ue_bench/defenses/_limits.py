"""Refusing parameters that do not fit, with what is allowed."""

from __future__ import annotations

import math

from ue_bench.errors import ConfigError


def require(kept: bool, parameter: str, value: object, allowed: str) -> None:
    """ConfigError unless ``kept``: ``jpeg.quality must be 1 to 100, not 0``."""
    if not kept:
        raise ConfigError(f"{parameter} must be {allowed}, not {value!r}")


def positive(parameter: str, value: float) -> None:
    """ConfigError unless the value is finite and above 0."""
    require(math.isfinite(value) and value > 0, parameter, value, "a finite number above 0")


def share(parameter: str, value: float) -> None:
    """ConfigError unless the value is a probability above 0."""
    require(0 < value <= 1, parameter, value, "above 0 and at most 1")
