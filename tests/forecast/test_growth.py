"""What a forecast costs grows with the number of trials and no faster."""

from __future__ import annotations

from test_forecast import record, trial

from ue_bench.forecast import evidence as evidence_module
from ue_bench.forecast.evidence import Evidence
from ue_bench.forecast.prediction import predict


def test_each_kind_of_work_is_looked_up_once_for_all_seeds(monkeypatch):
    calls = []
    real = evidence_module.work_seconds
    monkeypatch.setattr(evidence_module, "work_seconds", lambda *what: calls.append(1) or real(*what))
    records = [record(trial(seed=seed), prepare_key=f"k{seed}") for seed in range(30)]
    pieces = predict([trial(seed=seed) for seed in range(30, 90)], Evidence(records))
    assert len(pieces) >= 180 and {piece.source for piece in pieces} == {"records"}
    assert 0 < len(calls) <= 4 * 2 * len(records), "four phases by two clocks, whatever the number of trials"
