"""bf16 on CPUs and CUDA graphs as parts of a trial: another arithmetic is another trial, and nothing is mixed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import CONTENT

from ue_bench.api.planned import PlannedRun
from ue_bench.configure import configure
from ue_bench.forecast.evidence import noise_of, preparation_of, training_of
from ue_bench.progress import Progress
from ue_bench.training import supervised
from ue_bench.training.arithmetic import Switches, autocast, captures, computing_as
from ue_bench.trials import plan
from ue_bench.trials.arithmetic import Arithmetic
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import _context, prepare_key
from ue_bench.trials.trial import Choice, Trial, read_trial

CPU = torch.device("cpu")
NOTHING = Choice("x", {})
ASKS, DECLINES = Choice("x", {"bf16": True}), Choice("x", {"bf16": False})
TRIAL = Trial("supervised", NOTHING, None, "a", "b", ASKS, NOTHING, NOTHING, {"bf16": True}, 1.0, 0)
QUICKSTART = Path(__file__).parents[2] / "results" / "quickstart" / "trials"


def planned(*words: str) -> list[Trial]:
    config, registry = configure([*words, f"plugins={CONTENT}"])
    return plan.make_plan(config, registry, "").trials


def ids(*words: str) -> list[str]:
    return [trial.id for trial in planned("suite=toy", *words)]


def noises(*words: str) -> dict[str, str]:
    return {
        trial.method.name: trial.noise_key for trial in planned("suite=toy", "method=[em,synper]", *words)
    }


def test_without_bf16_trials_are_those_that_are_published():
    kept = {path.stem for path in QUICKSTART.glob("*.json")}
    controls = [trial.id for trial in planned("suite=quickstart") if trial.method.name in ("clean", "random")]
    assert controls and kept.issuperset(controls)


def test_a_machine_that_gains_makes_other_trials(monkeypatch):
    before = ids()
    monkeypatch.setenv("UE_BENCH_BF16", "on")
    now = ids()
    assert not set(before) & set(now)
    assert now == ids("recipe.bf16=true")


def test_a_person_has_the_last_word(monkeypatch):
    forced, off = ids("recipe.bf16=true"), ids("recipe.bf16=false")
    assert not set(forced) & set(off)
    monkeypatch.setenv("UE_BENCH_BF16", "on")
    assert ids("recipe.bf16=false") == off and ids("recipe.bf16=true") == forced
    assert not any(trial.cpu_bf16 for trial in planned("suite=toy", "recipe.bf16=false"))


def test_noise_differs_where_its_method_computes_in_networks(monkeypatch):
    before = noises()
    monkeypatch.setenv("UE_BENCH_BF16", "on")
    now = noises()
    assert {name for name in before if before[name] != now[name]} == {"em"}
    assert noises("em.bf16=false")["em"] not in before.values(), "another parameter is another noise"
    with_bf16 = noises("em.bf16=false")["em"]
    monkeypatch.setenv("UE_BENCH_BF16", "off")
    assert noises("em.bf16=false")["em"] == with_bf16, "which is float32 on either machine"


def test_on_a_gpu_neither_counts_but_graphs(monkeypatch):
    monkeypatch.setattr(plan, "find_device", lambda word: torch.device("cuda"))
    before = ids()
    monkeypatch.setenv("UE_BENCH_BF16", "on")
    assert ids() == before == ids("recipe.bf16=true")
    assert not set(before) & set(ids("cuda_graphs=true"))


def test_on_a_cpu_graphs_do_not_count():
    assert ids() == ids("cuda_graphs=true")


def test_keys_of_shared_work_follow_the_noise(tmp_path):
    class Method:
        protect_only = ()

    on = Arithmetic(cpu_bf16=True)
    usual = {choice.parameters.get("bf16"): prepare_key(choice, 0, Method()) for choice in (ASKS, DECLINES)}
    assert prepare_key(ASKS, 0, Method(), on) != usual[True]
    assert prepare_key(DECLINES, 0, Method(), on) == usual[False]

    def key(choice: Choice, bf16: bool) -> str:
        environment = Environment(str(tmp_path), "cpu", cpu_bf16=bf16)
        choice = dataclasses.replace(choice, name="em")
        return _context(0, "protect", environment, Progress(), choice, "work").ledger.data_key

    assert key(ASKS, True) != key(ASKS, False) == key(DECLINES, True)


def test_a_record_holds_its_arithmetic_and_forecasts_keep_them_apart():
    on = dataclasses.replace(TRIAL, cpu_bf16=True)
    assert "cpu_bf16" not in TRIAL.config() and on.config()["cpu_bf16"] is True
    assert read_trial(on.config()).id == on.id != read_trial(TRIAL.config()).id == TRIAL.id
    one, other = TRIAL.config(), on.config()
    assert training_of(one) != training_of(other) and noise_of(one) != noise_of(other)
    assert preparation_of(one, Namesake()) != preparation_of(other, Namesake())
    declining = [dataclasses.replace(trial, method=DECLINES).config() for trial in (TRIAL, on)]
    assert noise_of(declining[0]) == noise_of(declining[1])


class Namesake:
    protect_only = ()


def test_a_worker_does_what_the_plan_says(monkeypatch, tmp_path):
    """Even on a machine that is slower by it: ids are planned in one place only."""
    used: list[bool] = []
    real = supervised.autocast

    def watched(device, wanted):
        block = real(device, wanted)
        used.append(block._enabled)
        return block

    monkeypatch.setattr(supervised, "autocast", watched)
    for word, expected in (("on", True), ("off", False)):
        used.clear()
        monkeypatch.setenv("UE_BENCH_BF16", word)
        run = PlannedRun.of(["suite=toy", "method=fragile", f"plugins={CONTENT}", f"store={tmp_path}"])
        monkeypatch.setenv("UE_BENCH_BF16", "off" if word == "on" else "on")
        summary = run.work(Progress())
        assert not summary.failures and set(used) == {expected}
        assert {record["config"].get("cpu_bf16", False) for record in summary.records.values()} == {expected}


def test_the_switch_ends_with_its_block():
    assert not autocast(CPU, True)._enabled
    with computing_as(Switches(cpu_bf16=True), CPU):
        assert autocast(CPU, True)._enabled and not autocast(CPU, False)._enabled
        with computing_as(Switches(), CPU):
            assert not autocast(CPU, True)._enabled
        assert autocast(CPU, True)._enabled
    assert not autocast(CPU, True)._enabled


def test_precision_is_stated_on_a_gpu_and_as_before_after_it():
    cudnn, before = torch.backends.cudnn, torch.get_float32_matmul_precision()
    flags = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    try:
        cudnn.benchmark = cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
        with computing_as(Switches(cuda_graphs=True), torch.device("cuda")):
            assert captures(torch.device("cuda")) and not captures(CPU)
            assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (False, True, False)
            assert torch.get_float32_matmul_precision() == "highest"
        assert cudnn.benchmark and cudnn.allow_tf32 and torch.get_float32_matmul_precision() == "high"
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = flags
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_float32_under_a_cpus_autocast(reduction):
    """What the docstring of ``autocast`` promises of torch, for labels and for mixed targets."""
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    for targets in (torch.arange(8), torch.eye(10)[:8]):
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(
                logits, targets, reduction=reduction, label_smoothing=0.1
            )
        exact = torch.nn.functional.cross_entropy(
            logits.float(), targets, reduction=reduction, label_smoothing=0.1
        )
        assert loss.dtype == torch.float32 and torch.equal(loss, exact)
