"""Methods for both paradigms: settings that depend on it, and noise that makes no sense in one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ue_bench.contracts.method import Method
from ue_bench.errors import ConfigError

Kind = TypeVar("Kind", bound=Method)
FOREIGN = {"supervised": ("pair",), "contrastive": ("class", "cluster")}  # granularities without a meaning


def settled(method: Kind, paradigm: str) -> Kind:
    """A copy whose fields at None are what the method's ``defaults`` say for the paradigm.

    ``defaults`` is a class variable, {paradigm: {field: value}}; fields that it does not name stay None.

    Raises:
        ConfigError: for a granularity that the paradigm does not know.
    """
    reason = find_conflict(method, paradigm)
    if reason:
        raise ConfigError(f"{type(method).__name__.lower()}: {reason}")
    defaults = getattr(method, "defaults", {}).get(paradigm, {})
    return replace(method, **{name: v for name, v in defaults.items() if getattr(method, name) is None})


def find_conflict(method: Method, paradigm: str) -> str:
    """Why the method's granularity makes no sense in the paradigm, or ""."""
    foreign = FOREIGN.get(paradigm, ())
    if method.granularity not in foreign:
        return ""
    others = [kind for kind in method.granularities if kind not in foreign]
    return (
        f"{method.granularity}-wise noise is not for {paradigm} runs: set granularity={' or '.join(others)}"
    )
