"""How trials differ, declared once: the dimensions of tables, the roles of controls, and a trial in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ue_bench.errors import some

# The dimensions, in a table's order. A variant is one of several parameter settings of one method.
DIMENSIONS = ("method", "granularity", "budget", "variant", "dataset", "victim", "defense", "poison_ratio")
SEED = "seed"  # a table may name it as well; otherwise a cell sums up all seeds
OF_METHOD = ("granularity", "budget", "variant")  # belong to a method and stand beside it
SET_UP = ("victim", "defense")  # may have several settings, each of which counts as a value
ROLES = ("clean", "random", "share")  # the roles of controls
DIAGNOSTIC = "diagnostic"  # no role: a victim that explains a method, and is no result
ABLATION = "ablation"  # no role: noise without what a method adds, neither compared with nor called a method
BESIDE = ("dataset", "victim", "defense")  # a suite may name other ones for the papers' numbers
NOTHING = "–"
UNBOUNDED = "unbounded"  # the budget ``none``
_HEADINGS = {"poison_ratio": "ratio"}


def heading(dimension: str) -> str:
    """A dimension's name as a heading."""
    return _HEADINGS.get(dimension, dimension.replace("_", " "))


def value_in_words(dimension: str, value: Any) -> str:
    """A dimension's value in words: ``20%`` for a ratio, a dash for nothing."""
    if dimension == "poison_ratio" and isinstance(value, (int, float)):
        return f"{100 * value:g}%"
    return str(value) if value not in ("", None) else NOTHING


def full_name(trial: Mapping[str, Any], dimension: str) -> str:
    """A trial's victim or defense (``none`` without one), with its setting where it takes part with several.

    Example: ``jpeg (quality=30)``.
    """
    name = str(trial.get(dimension) or ("none" if dimension == "defense" else ""))
    setting = (trial.get("settings") or {}).get(dimension)
    return f"{name} ({setting})" if setting else name


def method_in_words(trial: Mapping[str, Any]) -> str:
    """A method with its granularity: ``em (class)``; the clean control has none."""
    name, granularity = str(trial.get("method", "")), trial.get("granularity")
    return f"{name} ({granularity})" if granularity and trial.get("control") != "clean" else name


def trial_in_words(trial: Mapping[str, Any], seed: bool = True) -> str:
    """A planned trial or a record in words: method, dataset, victim, defense, ratio and seed.

    Example: ``em (class), cifar10, resnet18, jpeg, ratio 20%, seed 0``.
    """
    parts = [method_in_words(trial)]
    if trial.get("dataset"):
        parts.append(str(trial["dataset"]))
    parts += [name for key in SET_UP if (name := full_name(trial, key)) not in ("", "none")]
    ratio = trial.get("poison_ratio")
    if isinstance(ratio, (int, float)) and 0 < ratio < 1:
        parts.append(f"ratio {value_in_words('poison_ratio', ratio)}")
    if seed:
        parts.append(f"seed {trial.get('seed')}")
    return ", ".join(parts)


def skipped_in_words(skipped: Iterable[Mapping[str, str]]) -> list[str]:
    """The combinations that a plan skips, a text for each reason: ``em on x, tap on x and 3 more: x has no labels``."""
    reasons: dict[str, list[str]] = {}
    for item in skipped:
        reasons.setdefault(item["reason"], []).append(item["what"])
    return [f"{some(what, 2)}: {reason}" for reason, what in reasons.items()]
