"""Checks, for methods of both paradigms, that the granularity makes sense in the paradigm of the run."""

from __future__ import annotations

from ue_bench.contracts.method import Method
from ue_bench.errors import ConfigError

FOREIGN = {
    "supervised": ("pair",),
    "contrastive": ("class", "cluster"),
}  # granularities without a meaning in it


def check_paradigm(method: Method, paradigm: str) -> None:
    """Raises ConfigError for a granularity that makes no sense in the paradigm."""
    if reason := find_conflict(method, paradigm):
        raise ConfigError(f"{type(method).__name__.lower()}: {reason}")


def find_conflict(method: Method, paradigm: str) -> str:
    """Why the method's granularity makes no sense in the paradigm; "" if it does."""
    foreign = FOREIGN.get(paradigm, ())
    if method.granularity not in foreign:
        return ""
    others = [kind for kind in method.granularities if kind not in foreign]
    return (
        f"{method.granularity}-wise noise is not for {paradigm} runs: set granularity={' or '.join(others)}"
    )
