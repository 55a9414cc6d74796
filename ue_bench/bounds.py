"""The values that a parameter may have: declared in its type and checked in one place.

    rounds: Count = 20  # 1, 2, ...
    step_size: Positive = 0.8  # above 0
    quality: Annotated[int, Range(1, 100)] = 10
    bound: Literal["scale", "clamp"] = "scale"

The type says which values are allowed, and the default stays a plain value. ``ue-bench show`` reads the bounds from
the source without running it, so they must be literals.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Union, runtime_checkable

from ue_bench.errors import ConfigError, unknown

LARGEST = 2**53  # JSON keeps whole numbers exactly up to here
MOST_THREADS = 1024


@runtime_checkable
class Bound(Protocol):
    """A bound that follows the type in ``Annotated``; its ``str`` completes "must be ..."."""

    def holds(self, value: Any) -> bool:
        """Whether the value is allowed."""

    def nearest(self, value: Any) -> Any:
        """The allowed value closest to it, or None if there is no such value."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``least`` to ``most``, both included; more than ``above`` and less than ``below``.

    Example: ``Range(1, 100)`` is 1 to 100, ``Range(0, below=1)`` is 0 and more, but less than 1.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the number is allowed."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def nearest(self, value: float) -> float | None:
        """The end of the range that the number lies beyond, if that end belongs to the range."""
        if self.least is not None and value < self.least:
            return self.least
        if self.most is not None and value > self.most:
            return self.most
        return None

    def __str__(self) -> str:
        if self.least is not None and self.most is not None:
            return f"in the range {self.least:g} to {self.most:g}"
        ends = (
            ("at least", self.least),
            ("above", self.above),
            ("at most", self.most),
            ("below", self.below),
        )
        return " and ".join(f"{word} {end:g}" for word, end in ends if end is not None)


class Norms:
    """The budgets that a method can spend, declared in its field's type: ``Annotated[Budget, Norms("linf")]``.

    Args:
        norms: the allowed norms, the preferred one first; the radius must be above 0, and noise of both signs allowed.
        most: the largest linf radius, in steps of 1/255.
    """

    def __init__(self, *norms: str, most: int = 255):
        self.norms, self.most = norms, most

    def holds(self, value: Any) -> bool:
        """Whether the method can spend the budget."""
        fits = value.norm in self.norms and not value.empty and value.signs == "both"
        return fits and (value.norm != "linf" or value.radius <= self.most)

    def nearest(self, value: Any) -> Any:
        """The budget with the largest allowed radius if the radius is too large, else None."""
        if value.norm in self.norms and value.radius > self.most:
            return dataclasses.replace(value, radius=self.most)
        return None

    def __str__(self) -> str:
        if self.norms == ("none",):
            return "none, because nothing bounds the change"
        words = f"an {' or '.join(self.norms)} budget above 0 with noise of both signs"
        return words if self.most == 255 else f"{words}, of at most {self.most} steps"


Whole = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(most=1, above=0)]
NAMED: Mapping[str, Any] = {
    "Whole": Whole,
    "Count": Count,
    "NotNegative": NotNegative,
    "Positive": Positive,
    "Share": Share,
    "PositiveShare": PositiveShare,
}


@dataclass(frozen=True)
class Kind:
    """What a field's type says.

    Attributes:
        base: int, float, bool, str, tuple or any class; None if the type says nothing that is checked.
        optional: whether None is allowed.
        bounds: the bounds of the value, or of each item of a tuple.
        choices: the words of a ``Literal``.
        item: the type of a tuple's items.
    """

    base: Any = None
    optional: bool = False
    bounds: tuple[Bound, ...] = ()
    choices: tuple[str, ...] = ()
    item: Kind | None = None

    def __str__(self) -> str:
        """What is allowed, in words, or ""."""
        if self.item:
            return f"each {self.item}" if str(self.item) else ""
        words = [str(bound) for bound in self.bounds]
        choices = ", ".join(choice or '""' for choice in self.choices)
        return " and ".join([f"one of {choices}", *words] if choices else words)


def read_type(annotation: Any) -> Kind:
    """The kind that a type means: ``Count | None`` is an optional int of at least 1."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        inner = read_type(parts[0])
        bounds = tuple(part for part in parts[1:] if isinstance(part, Bound))
        return dataclasses.replace(inner, bounds=(*inner.bounds, *bounds))
    if origin is Literal and all(isinstance(part, str) for part in parts):
        return Kind(str, choices=parts)
    if origin in (Union, types.UnionType):
        others = [part for part in parts if part is not type(None)]
        return dataclasses.replace(read_type(others[0]), optional=True) if len(others) == 1 else Kind()
    if origin is tuple:
        return Kind(tuple, item=read_type(parts[0]) if parts else None)
    return Kind(annotation) if isinstance(annotation, type) else Kind()


@functools.cache
def kinds(content: type) -> dict[str, Kind]:
    """{field: kind} of a dataclass; a type with names that cannot be resolved is not checked."""
    found = {}
    for field in dataclasses.fields(content):
        owner = next(kind for kind in content.__mro__ if field.name in vars(kind).get("__annotations__", {}))
        annotation: Any = field.type
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, dict(vars(sys.modules[owner.__module__])))
            except Exception:
                annotation = None  # a name that only type checkers import
        found[field.name] = read_type(annotation)
    return found


def check_fields(instance: Any, name: str, hint: str = "") -> None:
    """Checks every field of a dataclass against its type.

    Args:
        instance: an instance of a dataclass.
        name: its name in messages: ``em``, ``recipe``.
        hint: a command that shows what is allowed.

    Raises:
        ConfigError: for a value outside its bounds, and for a number that is not finite or above ``LARGEST``.
    """
    content: type = type(instance)
    for field in dataclasses.fields(instance):
        value, kind = getattr(instance, field.name), kinds(content)[field.name]
        where = f"{name}.{field.name}"
        if kind.item and isinstance(value, tuple):
            for item in value:
                check_value(item, kind.item, where, hint=hint)
        else:
            check_value(value, kind, where, field.default, hint)


def check_value(
    value: Any, kind: Kind, where: str, default: Any = dataclasses.MISSING, hint: str = ""
) -> None:
    """Raises ConfigError with what was given, what is allowed and what to type, unless the type allows the value."""
    if value is None and kind.optional:
        return
    if kind.choices:
        if value not in kind.choices:
            raise unknown(where, str(value), kind.choices, hint)
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    wanted = " and ".join(str(bound) for bound in kind.bounds)
    if kind.base in (int, float):
        if not number and kind.bounds:
            raise _refusal(where, repr(value), f"a number {wanted}", default, hint)
        if number and not math.isfinite(value):
            raise _refusal(where, repr(value), f"a finite number {wanted}".rstrip(), default, hint)
        if number and kind.base is int and abs(value) > LARGEST:
            given = f"a number of {len(str(abs(value)))} digits"
            raise _refusal(
                where, given, f"{wanted} and at most {LARGEST}".removeprefix(" and "), default, hint
            )
    for bound in kind.bounds:
        if not bound.holds(value):
            near = bound.nearest(value)
            raise _refusal(where, _shown(value), str(bound), default if near is None else near, hint)


def _refusal(where: str, given: str, wanted: str, say: Any, hint: str) -> ConfigError:
    message = f"{where} must be {wanted}, not {given}"
    if say is not dataclasses.MISSING and say is not None:
        message += f": say {where}={_shown(say)}"
    return ConfigError(f"{message}. See: {hint}" if hint else message)


def _shown(value: Any) -> str:
    return getattr(value, "word", repr(value))


def check_threads(count: int) -> None:
    """Raises ConfigError for a number of threads that no machine has."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_THREADS:
        raise ConfigError(f"threads must be a whole number from 1 to {MOST_THREADS}, not {count!r}")


def check_minutes(minutes: float) -> None:
    """Raises ConfigError for a time between checkpoints that is negative or not finite."""
    if not 0 <= minutes < math.inf:
        raise ConfigError(
            f"checkpoint_minutes must be a number of minutes such as 10, or 0 for no checkpoints, not {minutes:g}"
        )
