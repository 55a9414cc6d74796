"""What the missing trials will cost, predicted from records or short measurements, one piece of work at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ue_bench.contracts.method import Method
from ue_bench.forecast.evidence import (
    TRAINING,
    Config,
    Evidence,
    Record,
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
    known = _Known(evidence)
    pieces: list[Piece] = []
    made: set[str] = set()
    prepared: set[Any] = set()
    for trial in todo:
        config = trial.config()
        if not (trial.noise_key in made or trial.noise_key in evidence.made or empty(config)):
            made.add(trial.noise_key)
            work, piece = _preparation(trial, config, sharing, known)
            if piece and piece.seconds and work not in prepared:
                prepared.add(work)
                pieces.append(piece)
            pieces.append(_piece("protect", trial, config, known))
        pieces += [_piece(phase, trial, config, known) for phase in TRAINING]
    return pieces


class _Known:
    """What the evidence says of a kind of work. Each kind is looked up once, since many trials differ by seed only."""

    def __init__(self, evidence: Evidence):
        self.evidence = evidence
        self.alike = functools.cache(self._alike)
        self.cost = functools.cache(self._cost)
        self.cost_once = functools.cache(self._cost_once)

    def _alike(self, calibrated: bool, of: Callable[[Config], str]) -> dict[str, list[Record]]:
        groups: dict[str, list[Record]] = {}
        for record in self.evidence.calibrated if calibrated else self.evidence.records:
            groups.setdefault(of(record["config"]), []).append(record)
        return groups

    def _cost(self, phase: str, what: str, data: str) -> tuple[str, float, float] | None:
        """(source, seconds, device seconds) of one pass through the training set ``data``, or None."""
        of = training_of if phase in TRAINING else noise_of
        alike = self.alike(False, of).get(what, [])
        exact = costs([r for r in alike if r["config"]["train_fingerprint"] == data], phase)
        if exact:
            return RECORDS, *mean(exact)
        size = self.evidence.sizes.get(data)
        measured = self.alike(True, of).get(what, [])
        for source, records in ((SCALED, alike), (CALIBRATION, measured)):
            found = points(records, phase, size, self.evidence.sizes) if size else {}
            if size and found:
                clocks = [{count: pair[clock] for count, pair in found.items()} for clock in range(2)]
                wall, device = (extrapolate(clock, size.images(phase)) for clock in clocks)
                return source, wall, device
        return None

    def _cost_once(self, name: str, what: str) -> tuple[str, float, float] | None:
        """The same of the preparation of a method that prepares once: it does not depend on the data or its size."""
        method = self.evidence.once[name]
        for source, records in ((RECORDS, self.evidence.records), (CALIBRATION, self.evidence.calibrated)):
            alike = [record for record in records if preparation_of(record["config"], method) == what]
            if found := costs(alike, "prepare"):
                return source, *mean(found)
        return None


def _piece(phase: str, trial: Trial, config: Config, known: _Known) -> Piece:
    what = (training_of if phase in TRAINING else noise_of)(config)
    common = (phase, trial.id, trial.method.name, "" if phase in TRAINING else trial.noise_key)
    found = known.cost(phase, what, trial.train_fingerprint)
    if found is None:
        return Piece(*common, UNKNOWN, why=known.evidence.failures.get(what, "nothing like it in the store"))
    (source, wall, device), times = found, passes(config, phase)
    return Piece(*common, source, times * wall, times * device)


def _preparation(trial: Trial, config: Config, sharing: Sharing, known: _Known) -> tuple[Any, Piece | None]:
    """(a key that is equal for trials that share a preparation, its piece or None if the store holds it)."""
    once, prepared = known.evidence.once.get(trial.method.name), known.evidence.prepared
    if once:
        key = prepare_key(trial.method, trial.seed, once, trial.arithmetic)
        return key, None if key in prepared else _once(trial, config, once, known)
    work = sharing.work(config)
    kept = sharing.kept(work, prepared)
    return work, None if kept else _piece("prepare", trial, config, known)


def _once(trial: Trial, config: Config, method: Method, known: _Known) -> Piece:
    """The piece of a preparation for any number of datasets."""
    common = ("prepare", trial.id, trial.method.name, trial.noise_key)
    found = known.cost_once(trial.method.name, preparation_of(config, method))
    return Piece(*common, *found) if found else Piece(*common, UNKNOWN)


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
