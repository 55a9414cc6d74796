"""What a forecast costs grows with the number of trials and no faster."""

from __future__ import annotations

from conftest import CONTENT
from test_forecast import record, trial

from ue_bench.api.planned import PlannedRun
from ue_bench.forecast import evidence as evidence_module
from ue_bench.forecast.evidence import Evidence, gather
from ue_bench.forecast.prediction import predict


def test_each_kind_of_work_is_looked_up_once_for_all_seeds(monkeypatch):
    calls = []
    real = evidence_module.work_seconds
    monkeypatch.setattr(evidence_module, "work_seconds", lambda *what: calls.append(1) or real(*what))
    records = [record(trial(seed=seed), prepare_key=f"k{seed}") for seed in range(30)]
    pieces = predict([trial(seed=seed) for seed in range(30, 90)], Evidence(records))
    assert len(pieces) >= 180 and {piece.source for piece in pieces} == {"records"}
    assert 0 < len(calls) <= 4 * 2 * len(records), "four phases by two clocks, whatever the number of trials"


def test_each_method_is_made_once_for_all_seeds(tmp_path, monkeypatch):
    made = []
    real = evidence_module.create_method
    monkeypatch.setattr(
        evidence_module,
        "create_method",
        lambda choice, *more: made.append(choice.name) or real(choice, *more),
    )
    words = ["suite=toy", f"plugins={CONTENT}", f"store={tmp_path / 'store'}", "seeds=5"]
    planned = PlannedRun.of(words)
    gather(planned.plan.trials, {}, planned.environment)
    assert sorted(made) == sorted({trial.method.name for trial in planned.plan.trials})
    assert len(planned.plan.trials) == 20
