"""Methods for both paradigms: noise that makes no sense in one of them."""

from __future__ import annotations

from ue_bench.contracts.method import Method
from ue_bench.errors import ConfigError

FOREIGN = {"supervised": ("pair",), "contrastive": ("class", "cluster")}  # granularities without a meaning


def check_paradigm(method: Method, paradigm: str) -> None:
    """ConfigError for a granularity that the paradigm does not know."""
    if reason := find_conflict(method, paradigm):
        raise ConfigError(f"{type(method).__name__.lower()}: {reason}")


def find_conflict(method: Method, paradigm: str) -> str:
    """Why the method's granularity makes no sense in the paradigm, or ""."""
    foreign = FOREIGN.get(paradigm, ())
    if method.granularity not in foreign:
        return ""
    others = [kind for kind in method.granularities if kind not in foreign]
    return (
        f"{method.granularity}-wise noise is not for {paradigm} runs: set granularity={' or '.join(others)}"
    )
