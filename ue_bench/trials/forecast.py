"""How long what is missing will take, judged by what is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ue_bench.trials.trial import Trial


def forecast(todo: Iterable[Trial], records: Iterable[Mapping[str, Any]]) -> float | None:
    """Seconds for these trials, or None where no record tells.

    A training's time is taken from records of the same victim, per epoch of the same dataset and size; a noise's
    from records of the same method with the same parameters on the same data.

    Args:
        todo: trials that are still to be done.
        records: of the store, made on the same kind of machine.
    """
    training: dict[Any, list[float]] = {}
    noise: dict[Any, list[float]] = {}
    for record in records:
        if record["status"] == "done":
            config, seconds = record["config"], record["seconds"]
            spent = seconds["train"] + seconds["evaluate"]
            training.setdefault(_training(config), []).append(spent / config["recipe"]["epochs"])
            noise.setdefault(_noise(config), []).append(seconds["protect"])
    total, made = 0.0, set()
    for trial in todo:
        config = trial.config()
        known = training.get(_training(config))
        if known is None:
            return None
        total += sum(known) / len(known) * config["recipe"]["epochs"]
        if trial.noise_key not in made:
            made.add(trial.noise_key)
            cost = noise.get(_noise(config))
            if cost is None:
                return None
            total += sum(cost) / len(cost)
    return total


def _training(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        config["train_fingerprint"],
        repr(config["victim"]),
        repr(config["defense"]),
        config["recipe"]["batch_size"],
    )


def _noise(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return config["train_fingerprint"], repr(config["method"])


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
