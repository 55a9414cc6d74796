"""What records cost: noise that trials share is counted once, and so is a preparation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ue_bench.report.measures import number
from ue_bench.report.statistics import summarise

Record = Mapping[str, Any]
PHASES = ("prepare", "protect", "train", "evaluate")
SHARED = ("prepare", "protect")


def distinct(records: Iterable[Record], phase: str) -> list[Record]:
    """One record for each piece of work of a phase.

    Noise is known by its key, a preparation by ``prepare_key`` beside it. A record that names none is known
    by its method and its exact seconds: the trials that share work carry the same measurement.
    """
    have = [record for record in records if seconds(record, phase) is not None]
    if phase not in SHARED:
        return have
    keyed: dict[Any, Record] = {}
    for record in have:
        key = _key(record, phase)
        if key is not None and (key not in keyed or _spent(record, phase) > _spent(keyed[key], phase)):
            keyed[key] = record
    found: dict[Any, Record] = {_timing(record, phase): record for record in keyed.values()}
    result = list(keyed.values())
    for record in have:
        if _key(record, phase) is None and _timing(record, phase) not in found:
            found[_timing(record, phase)] = record
            result.append(record)
    return result


def seconds(record: Record, phase: str, clock: str = "seconds") -> float | None:
    """What a record says a phase took, or None; ``clock`` is seconds or device_seconds."""
    return number((record.get(clock) or {}).get(phase))


def mean_seconds(records: Sequence[Record], phase: str) -> float | None:
    """Mean wall-clock seconds of a phase over distinct pieces of work, or None."""
    summary = summarise([_spent(record, phase) for record in distinct(records, phase)])
    return summary.mean if summary else None


def totals(records: Iterable[Record]) -> dict[str, Any]:
    """All that was spent, by phase and by method.

    Returns:
        ``phases``: {phase: {wall_seconds, core_seconds, accelerator_seconds}}; ``methods``: {method: phases};
        ``wall_seconds``, ``core_seconds``, ``gpu_hours``: the sums. Device seconds are core-seconds on a CPU,
        and on anything else the seconds for which the accelerator was held.
    """
    records = list(records)
    phases: dict[str, dict[str, float]] = {}
    methods: dict[str, dict[str, dict[str, float]]] = {}
    names = dict.fromkeys(PHASES) | dict.fromkeys(name for r in records for name in r.get("seconds") or {})
    for phase in names:
        for record in distinct(records, phase):
            method = methods.setdefault(str(record.get("method", "")), {})
            for sums in (phases.setdefault(phase, _zero()), method.setdefault(phase, _zero())):
                sums["wall_seconds"] += _spent(record, phase)
                sums[_unit(record)] += seconds(record, phase, "device_seconds") or 0.0
    return {
        "phases": phases,
        "methods": methods,
        "wall_seconds": sum(sums["wall_seconds"] for sums in phases.values()),
        "core_seconds": sum(sums["core_seconds"] for sums in phases.values()),
        "gpu_hours": sum(sums["accelerator_seconds"] for sums in phases.values()) / 3600,
    }


def duration(value: float) -> str:
    """Seconds as a person reads them: ``12.3 s``, ``4.1 min``, ``2.5 h``."""
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _spent(record: Record, phase: str) -> float:
    return seconds(record, phase) or 0.0


def _unit(record: Record) -> str:
    kind = (record.get("device") or {}).get("type", "cpu")
    return "core_seconds" if kind == "cpu" else "accelerator_seconds"


def _zero() -> dict[str, float]:
    return {"wall_seconds": 0.0, "core_seconds": 0.0, "accelerator_seconds": 0.0}


def _key(record: Record, phase: str) -> Any:
    return (record.get("noise") or {}).get("key" if phase == "protect" else "prepare_key")


def _timing(record: Record, phase: str) -> tuple[Any, Any]:
    return record.get("method"), _spent(record, phase)
