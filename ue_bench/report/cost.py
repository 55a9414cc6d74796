"""What the work behind records cost: noise and preparations that trials share count once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ue_bench.measures import number
from ue_bench.report.statistics import summarise

Record = Mapping[str, Any]
PHASES = ("prepare", "protect", "fit", "train", "evaluate", "probe")
OF_TRIAL = (
    "warmup",
    "fit",
    "train",
    "evaluate",
    "probe",
)  # all other phases belong to the noise, and to all trials that use it


def distinct(records: Iterable[Record], phase: str) -> list[Record]:
    """One record for each piece of work of a phase.

    Noise is identified by its key, or by ``protect_key`` where several noises share the search (with a trigger that
    is published, and the same without it); a preparation by ``prepare_key``. A record without such a key is
    identified by its method and its exact seconds, since the trials that share work carry the same measurement.
    """
    return [record for record, _ in _pieces(records, phase)]


def _pieces(records: Iterable[Record], phase: str) -> list[tuple[Record, float]]:
    """What ``distinct`` gives, with the seconds of each piece."""
    have = [(record, spent) for record in records if (spent := seconds(record, phase)) is not None]
    if phase in OF_TRIAL:
        return have
    keyed: dict[Any, tuple[Record, float]] = {}
    keyless: list[tuple[Record, float]] = []
    for record, spent in have:
        key = _work(record, phase)
        if key is None:
            keyless.append((record, spent))
        elif key not in keyed or spent > keyed[key][1]:
            keyed[key] = record, spent
    timings = {(record.get("method"), spent) for record, spent in keyed.values()}
    result = list(keyed.values())
    for record, spent in keyless:
        timing = record.get("method"), spent
        if timing not in timings:
            timings.add(timing)
            result.append((record, spent))
    return result


def seconds(record: Record, phase: str, clock: str = "seconds") -> float | None:
    """How long a phase took by the record, or None; ``clock`` is seconds or device_seconds.

    Also None if it was timed on a device that others used, since such a time tells nothing about the work.
    """
    if phase in (record.get("shared") or ()):
        return None
    return number((record.get(clock) or {}).get(phase))


def work_seconds(record: Record, phase: str, clock: str = "seconds") -> float:
    """How long a phase took by the record, or 0; ``protect`` includes the phases that a method adds itself,
    ``train`` what a defense learned before."""
    own = [name for name in record.get("seconds") or {} if name not in ("prepare", *OF_TRIAL)]
    parts = {"protect": own, "train": ["fit", "train"]}.get(phase, [phase])
    return sum(seconds(record, name, clock) or 0.0 for name in parts)


def mean_seconds(records: Sequence[Record], phase: str, clock: str = "seconds") -> float | None:
    """Mean seconds of a phase over distinct pieces of work, or None; ``clock`` is seconds or device_seconds."""
    pieces = _pieces(records, phase)
    if clock == "seconds":
        summary = summarise([spent for _, spent in pieces])
    else:
        summary = summarise([seconds(record, phase, clock) or 0.0 for record, _ in pieces])
    return summary.mean if summary else None


def spent_pieces(records: Iterable[Record]) -> list[dict[str, Any]]:
    """What was spent, one mapping for each piece of work: ``phase id method seconds device_seconds unit``.

    Shared work carries the id of one of the trials that share it. Device seconds are ``core_seconds`` on a CPU; on
    any other device ``accelerator_seconds``, the time for which the accelerator was held.
    """
    records = list(records)
    names = dict.fromkeys(PHASES) | dict.fromkeys(name for r in records for name in r.get("seconds") or {})
    return [
        {
            "phase": phase,
            "id": record.get("id"),
            "method": str(record.get("method", "")),
            "seconds": spent,
            "device_seconds": seconds(record, phase, "device_seconds") or 0.0,
            "unit": unit(record.get("device")),
        }
        for phase in names
        for record, spent in _pieces(records, phase)
    ]


def totals(records: Iterable[Record]) -> dict[str, Any]:
    """All that was spent, by phase and by method.

    Returns:
        ``phases``: {phase: {wall_seconds, core_seconds, accelerator_seconds}}; ``methods``: {method: phases};
        ``wall_seconds``, ``core_seconds``, ``gpu_hours``: the sums. Device seconds are core-seconds on a CPU,
        and on anything else the seconds for which the accelerator was held.
    """
    phases: defaultdict[str, dict[str, float]] = defaultdict(_zero)
    methods: defaultdict[str, defaultdict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(_zero))
    for piece in spent_pieces(records):
        phase, unit, wall, device = (piece[key] for key in ("phase", "unit", "seconds", "device_seconds"))
        for sums in (phases[phase], methods[piece["method"]][phase]):
            sums["wall_seconds"] += wall
            sums[unit] += device
    return {
        "phases": dict(phases),
        "methods": {method: dict(sums) for method, sums in methods.items()},
        "wall_seconds": sum(sums["wall_seconds"] for sums in phases.values()),
        "core_seconds": sum(sums["core_seconds"] for sums in phases.values()),
        "gpu_hours": sum(sums["accelerator_seconds"] for sums in phases.values()) / 3600,
    }


@dataclass(frozen=True)
class Check:
    """What was predicted for work that is done by now, and what it took.

    Attributes:
        predicted: (wall-clock seconds, device seconds).
        took: (wall-clock seconds, device seconds).
        units: what the device seconds are: ``core_seconds``, ``accelerator_seconds``, or both where runs differ.
        trials: number of trainings among this work.
        noises: number of noises among it.
        sources: what the costs were predicted from.
    """

    predicted: tuple[float, float]
    took: tuple[float, float]
    units: tuple[str, ...]
    trials: int
    noises: int
    sources: tuple[str, ...]

    @property
    def off_percent(self) -> float:
        """By how many percent of the prediction the work took longer, in wall-clock time."""
        return 100 * (self.took[0] / self.predicted[0] - 1) if self.predicted[0] else 0.0


def check_forecast(plan: Mapping[str, Any], records: Iterable[Record]) -> Check | None:
    """Sums predictions and measurements of the work that was predicted and is done; None if there is no such work."""
    done = [record for record in records if record.get("status") == "done"]
    forecast = plan.get("forecast") or {}
    trained = [(r, phases) for r in done if (phases := (forecast.get("trials") or {}).get(r.get("id")))]
    of_key = {key: record for record in done if (key := _key(record, "protect")) is not None}
    noises = [(of_key[k], phases) for k, phases in (forecast.get("noises") or {}).items() if k in of_key]
    prepared: set[Any] = set()
    lines: list[tuple[list[float], str]] = []  # predicted and taken on both clocks, source
    for record, phases in (*noises, *trained):
        for phase, (wall, device, source) in phases.items():
            took = work_seconds(record, phase), work_seconds(record, phase, "device_seconds")
            preparation = _key(record, "prepare") if phase == "prepare" else None
            if preparation is not None and preparation in prepared:
                took = 0.0, 0.0
            prepared.add(preparation)
            lines.append(([wall, device, *took], source))
    if not lines:
        return None
    wall, device, wall_took, device_took = map(sum, zip(*(line[0] for line in lines), strict=True))
    units = dict.fromkeys(unit(record.get("device")) for record, _ in (*noises, *trained))
    sources = dict.fromkeys(line[1] for line in lines)
    return Check(
        (wall, device), (wall_took, device_took), tuple(units), len(trained), len(noises), tuple(sources)
    )


def unit(device: Mapping[str, Any] | None) -> str:
    """The unit of device seconds on that device: ``core_seconds`` or ``accelerator_seconds``."""
    return "core_seconds" if (device or {}).get("type", "cpu") == "cpu" else "accelerator_seconds"


def _zero() -> dict[str, float]:
    return {"wall_seconds": 0.0, "core_seconds": 0.0, "accelerator_seconds": 0.0}


def _work(record: Record, phase: str) -> Any:
    """The piece of work that a record shares with others, or None."""
    shared = (record.get("noise") or {}).get("protect_key") if phase != "prepare" else None
    return shared or _key(record, phase)


def _key(record: Record, phase: str) -> Any:
    return (record.get("noise") or {}).get("prepare_key" if phase == "prepare" else "key")
