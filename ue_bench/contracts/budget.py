"""The threat model: a norm and a radius, never a bare epsilon."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from ue_bench.dimensions import UNBOUNDED
from ue_bench.errors import ConfigError

NORMS = ("linf", "l2", "l0", "none")
SIGNS = ("both", "positive", "negative")


@dataclass(frozen=True)
class Budget:
    """How far protected pixels may lie from clean ones.

    Attributes:
        norm: ``linf``, ``l2``, ``l0`` or ``none`` (unbounded).
        radius: steps of 1/255 for linf; pixel range [0, 1] over all values of an image for l2;
            changed pixels for l0. 0 means no noise at all (the clean control).
        signs: ``both``; ``positive`` or ``negative`` only for published options that drop a sign.

    Example: ``Budget("linf", 8)`` is the field's 8/255.
    """

    norm: str
    radius: float = math.inf
    signs: str = "both"

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ConfigError(f"unknown norm '{self.norm}': allowed are {', '.join(NORMS)}")
        if self.signs not in SIGNS:
            raise ConfigError(f"unknown signs '{self.signs}': allowed are {', '.join(SIGNS)}")
        if isinstance(self.radius, bool) or not isinstance(self.radius, (int, float)) or not self.radius >= 0:
            raise ConfigError(f"a radius must be a number of at least 0, not {self.radius!r}")
        if self.norm != "none" and not math.isfinite(self.radius):
            raise ConfigError(
                f"the radius of an {self.norm} budget must be a finite number, not {self.radius!r}"
            )
        if self.norm == "linf" and (self.radius != int(self.radius) or self.radius > 255):
            raise ConfigError(
                f"an linf radius counts whole steps of 1/255, 0 to 255, not {self.radius!r}; for 8/255 say 8"
            )
        if self.norm == "l0" and self.radius != int(self.radius):
            raise ConfigError(f"an l0 radius counts whole pixels, not {self.radius!r}")

    @property
    def empty(self) -> bool:
        """True if the budget allows no noise at all."""
        return self.radius == 0

    @property
    def most_steps(self) -> float:
        """The most steps of 1/255 by which one value may change."""
        return min(255.0, {"linf": self.radius, "l2": 255 * self.radius}.get(self.norm, 255.0))

    @property
    def word(self) -> str:
        """The budget as a person types it: ``linf:8``."""
        return "none" if self.norm == "none" else f"{self.norm}:{self.radius:g}"

    def __str__(self) -> str:
        if self.empty:
            return "none (no noise)"
        text = {
            "linf": f"Linf {self.radius:g}/255",
            "l2": f"L2 {self.radius:.4g}",
            "l0": f"L0 {self.radius:g} px",
            "none": UNBOUNDED,
        }[self.norm]
        return text if self.signs == "both" else f"{text}, {self.signs} only"

    @classmethod
    def parse(cls, value: object) -> Budget:
        """Reads ``linf:8``, ``linf:8/255``, ``l2:1.0``, ``none`` or a mapping with those fields."""
        if isinstance(value, Budget):
            return value
        if isinstance(value, dict):
            try:
                return cls(**{**value, "radius": float(value.get("radius", math.inf))})
            except (TypeError, ValueError):
                raise ConfigError(f"a budget has norm, radius and signs, not {value!r}") from None
        match = re.fullmatch(r"(\w+)(?::([\d.]+(?:/\d+)?))?", str(value).strip())
        if not match:
            raise ConfigError(f"a budget reads NORM:RADIUS, such as linf:8 or l2:1.0, not {value!r}")
        norm, radius = match.groups()
        if radius is None:
            if norm != "none":
                raise ConfigError(f"a budget needs a radius: {norm}:RADIUS, such as linf:8 or l2:1.0")
            return cls("none")
        number = float(Fraction(radius))
        return cls(norm, steps(number) if norm == "linf" else number)


def steps(epsilon: float) -> int:
    """Turns an linf epsilon into steps of 1/255: 8 and 8/255 both mean 8.

    Raises:
        ConfigError: if it is not a whole number of steps from 0 to 255.
    """
    if not 0 <= epsilon <= 255:
        raise ConfigError(
            f"epsilon {epsilon:g} is not an linf radius: it counts steps of 1/255, 0 to 255, such as 8 or 8/255"
        )
    count = epsilon * 255 if 0 < epsilon < 1 else epsilon
    if abs(count - round(count)) > 1e-6 * max(1.0, count):
        raise ConfigError(
            f"epsilon {epsilon:g} is not a whole number of steps of 1/255: "
            f"say {max(1, round(count))} or {max(1, round(count))}/255"
        )
    return round(count)
