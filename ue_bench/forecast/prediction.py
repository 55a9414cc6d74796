"""What the missing trials will cost, predicted from records or short measurements, one piece of work at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ue_bench.contracts.method import Method
from ue_bench.forecast.evidence import (
    TRAINING,
    Config,
    Evidence,
    Sharing,
    costs,
    empty,
    extrapolate,
    mean,
    noise_of,
    passes,
    points,
    preparation_of,
    training_of,
)
from ue_bench.forecast.spread import START_SECONDS, Spread
from ue_bench.progress import duration, duration_range
from ue_bench.trials.making import prepare_key
from ue_bench.trials.trial import Trial

QUIET = Spread()
WIDEST = 20.0  # the largest ratio of a range's ends that is told
RECORDS, SCALED, CALIBRATION, UNKNOWN = "records", "scaled records", "calibration", "unknown"


@dataclass(frozen=True)
class Piece:
    """One phase of work to come.

    Attributes:
        phase: prepare, protect, train or evaluate.
        id: the trial's id; for shared work that of the first trial that needs it.
        method: the method's name.
        noise: the key of the noise that is made, or "".
        source: ``records`` (of the same work with another seed or number of epochs), ``scaled records`` (of the
            same on other data, by the number of images), ``calibration`` (measured on a slice) or ``unknown``.
        seconds: wall clock, or None if unknown.
        device_seconds: core-seconds on a CPU, seconds for which an accelerator is held, or None if unknown.
        why: why the cost is unknown, or "".
    """

    phase: str
    id: str
    method: str
    noise: str
    source: str
    seconds: float | None = None
    device_seconds: float | None = None
    why: str = ""


def predict(todo: Iterable[Trial], evidence: Evidence) -> list[Piece]:
    """The pieces of work of these trials, each with its predicted cost and the source of the prediction.

    Shared noise and shared preparations carry the id of the first trial that needs them. There is no piece for what
    the store holds already, nor for the noise of a budget that allows none.
    """
    sharing = Sharing([*evidence.records, *evidence.calibrated])
    pieces: list[Piece] = []
    made: set[str] = set()
    prepared: set[Any] = set()
    for trial in todo:
        config = trial.config()
        if not (trial.noise_key in made or trial.noise_key in evidence.made or empty(config)):
            made.add(trial.noise_key)
            work, piece = _preparation(trial, config, sharing, evidence)
            if piece and piece.seconds and work not in prepared:
                prepared.add(work)
                pieces.append(piece)
            pieces.append(_piece("protect", trial, config, evidence))
        pieces += [_piece(phase, trial, config, evidence) for phase in TRAINING]
    return pieces


def _piece(phase: str, trial: Trial, config: Config, evidence: Evidence) -> Piece:
    of = training_of if phase in TRAINING else noise_of
    what, times = of(config), passes(config, phase)
    common = (phase, trial.id, trial.method.name, "" if phase in TRAINING else trial.noise_key)
    alike = [record for record in evidence.records if of(record["config"]) == what]
    exact = costs([r for r in alike if r["config"]["train_fingerprint"] == trial.train_fingerprint], phase)
    if exact:
        seconds, device_seconds = mean(exact)
        return Piece(*common, RECORDS, times * seconds, times * device_seconds)
    size = evidence.sizes.get(trial.train_fingerprint)
    measured = [record for record in evidence.calibrated if of(record["config"]) == what]
    for source, records in ((SCALED, alike), (CALIBRATION, measured)):
        known = points(records, phase, size, evidence.sizes) if size else {}
        if size and known:
            clocks = [{count: pair[clock] for count, pair in known.items()} for clock in range(2)]
            spent = [times * extrapolate(clock, size.images(phase)) for clock in clocks]
            return Piece(*common, source, spent[0], spent[1])
    return Piece(*common, UNKNOWN, why=evidence.failures.get(what, "nothing like it in the store"))


def _preparation(
    trial: Trial, config: Config, sharing: Sharing, evidence: Evidence
) -> tuple[Any, Piece | None]:
    """(a key that is equal for trials that share a preparation, its piece or None if the store holds it)."""
    once = evidence.once.get(trial.method.name)
    if once:
        key = prepare_key(trial.method, trial.seed, once, trial.arithmetic)
        return key, None if key in evidence.prepared else _once(trial, config, once, evidence)
    work = sharing.work(config)
    kept = sharing.kept(work, evidence.prepared)
    return work, None if kept else _piece("prepare", trial, config, evidence)


def _once(trial: Trial, config: Config, method: Method, evidence: Evidence) -> Piece:
    """The piece of a preparation for any number of datasets: its cost does not depend on the data or its size."""
    common, what = ("prepare", trial.id, trial.method.name, trial.noise_key), preparation_of(config, method)
    for source, records in ((RECORDS, evidence.records), (CALIBRATION, evidence.calibrated)):
        alike = [record for record in records if preparation_of(record["config"], method) == what]
        if known := costs(alike, "prepare"):
            return Piece(*common, source, *mean(known))
    return Piece(*common, UNKNOWN)


def recall(pieces: Iterable[Piece], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A forecast as a plan's header keeps it: for each piece of work the last prediction before it was done.

    Args:
        pieces: predictions made now, for the work that is still missing.
        before: the forecast that the header held; work that has been done since keeps its prediction.

    Returns:
        ``{"trials": {id: phases}, "noises": {key: phases}}``, phases ``{phase: [seconds, device seconds, source]}``.
    """
    kept: dict[str, dict[str, dict[str, Any]]] = {}
    for group in ("trials", "noises"):
        kept[group] = {key: dict(phases) for key, phases in ((before or {}).get(group) or {}).items()}
    for piece in pieces:
        if piece.seconds is not None:
            group, key = ("noises", piece.noise) if piece.noise else ("trials", piece.id)
            kept[group].setdefault(key, {})[piece.phase] = [piece.seconds, piece.device_seconds, piece.source]
    return kept


def note_forecast(
    header: dict[str, Any], pieces: Iterable[Piece], plans: Iterable[Mapping[str, Any]]
) -> None:
    """Puts the predicted cost of a plan's work into its header, as ``forecast``.

    A run that continues another keeps the other's predictions for the work that the other did.

    Args:
        header: the plan's header.
        pieces: the pieces of the work that is missing.
        plans: the headers that the store keeps, oldest first.
    """
    ids = [entry["id"] for entry in header["trials"]]
    before: dict[str, Any] = {}
    for kept in plans:
        if [entry["id"] for entry in kept["trials"]] == ids and kept["table"] == header["table"]:
            before = kept.get("forecast") or {}
    header["forecast"] = recall(pieces, before)


def in_words(pieces: Iterable[Piece], spread: Spread = QUIET) -> str:
    """How long all pieces take: ``8 to 20 min (records)``, ``at least 3.5 h (records; unknown: protect of x)``.

    A range whose ends lie further apart than ``WIDEST`` says nothing, so that only its lower end is told. The text is
    empty if no cost is known.
    """
    pieces = list(pieces)
    known = [(piece.seconds, piece.source) for piece in pieces if piece.seconds is not None]
    if not known:
        return ""
    ranges = [spread.range(seconds, source) for seconds, source in known]
    least, most = (sum(each[end] for each in ranges) for end in range(2))
    about = [", ".join(dict.fromkeys(source for _, source in known)), *spread.reasons()]
    if missing := unknown_work(pieces):
        if least < 1:
            return ""  # "at least 0 s" says nothing
        return f"at least {duration(least)} ({'; '.join([*about, f'unknown: {missing}'])})"
    most += START_SECONDS * spread.slowdown
    if least >= 60 and most > WIDEST * least:
        return f"at least {duration(least)} ({'; '.join(about)}; the most cannot be told)"
    return f"{duration_range(least, most)} ({'; '.join(about)})"


def unknown_work(pieces: Iterable[Piece]) -> str:
    """The work whose cost is unknown: ``noise of x and y, training``."""
    lost = [piece for piece in pieces if piece.seconds is None]
    noises = " and ".join(dict.fromkeys(piece.method for piece in lost if piece.noise))
    phases = dict.fromkeys(piece.phase for piece in lost if not piece.noise)
    return ", ".join([f"noise of {noises}", *phases] if noises else phases)
