"""Searches for noise that are killed in any of their loops and go on, equal to the bit to those that were not."""

from __future__ import annotations

import pytest
import torch
from captioned import build_victim as build_clip
from captioned import pictures
from conftest import build_victim, fresh_context
from interrupted import each_step, in_pieces

from ue_bench import ProtectorView
from ue_bench.crafting.orders import Endless, shuffled
from ue_bench_methods.aue import AUE
from ue_bench_methods.cp import CP
from ue_bench_methods.em import EM
from ue_bench_methods.emax import Emax
from ue_bench_methods.entf import EntF
from ue_bench_methods.gue import GUE
from ue_bench_methods.hypo_robust import HypoRobust
from ue_bench_methods.mem import MEM
from ue_bench_methods.ntga import NTGA
from ue_bench_methods.rem import REM
from ue_bench_methods.tap import TAP
from ue_bench_methods.tue import TUE
from ue_bench_methods.uc import UC

TINY = {"surrogate": "resnet_tiny", "batch_size": 8}
ADVERSARIAL = {**TINY, "surrogate_epochs": 1, "surrogate_batch_size": 8, "iterations": 2, "restarts": 2}
CLIP = {"surrogate": "clip_tiny", "batch_size": 8, "noise_steps": 2, "step_size": 4.0, "learning_rate": 1e-3}
SEARCHES = {
    "em": EM(**TINY, max_rounds=2, model_steps=2, noise_steps=2, stop_error=0.0),
    "em class": EM(
        **TINY, granularity="class", max_rounds=4, model_steps=4, subset_share=1.0, stop_error=0.0
    ),
    "emax": Emax(
        **TINY, surrogate_epochs=1, surrogate_batch_size=8, noise_steps=2, max_sweeps=2, stop_error=1.0
    ),
    "tap": TAP(**ADVERSARIAL),
    "tue": TUE(**TINY, framework="moco", rounds=2, model_steps=2, noise_steps=1, queue=16),
    "cp": CP(
        **TINY, framework="moco", class_rounds=2, image_rounds=2, model_steps=2, noise_steps=1, queue=16
    ),
    "cp class": CP(**TINY, granularity="class", class_rounds=2, noise_batches=2, noise_steps=1),
    "rem": REM(**TINY, training_steps=3, noise_steps=1, draws=1, attack_steps=1),
    "aue": AUE(**TINY, epochs=2, noise_steps=1),
    "ntga": NTGA(block_size=3, iterations=2),
    "gue": GUE(**TINY, width=2, epochs=2, inner_steps=1),
    "entf": EntF(**TINY, surrogate_epochs=1, surrogate_batch_size=8, robust_steps=1, iterations=2),
    "hypo_robust": HypoRobust(
        **TINY, surrogate_epochs=1, surrogate_batch_size=8, robust_steps=1, iterations=2, shift=1.0
    ),
    "uc": UC(
        surrogate="rotation:resnet_tiny",
        surrogate_epochs=1,
        surrogate_batch_size=8,
        clusters=2,
        filters=4,
        blocks=1,
        epochs=2,
        batch_size=4,
    ),
}
PAIRS = {
    "em pairs": EM.for_paradigm("contrastive", **CLIP, granularity="pair", max_rounds=2, model_steps=2),
    "mem": MEM(**CLIP, rounds=2, model_steps=2, candidates=2, trigger_rounds=2),
    "tap pairs": TAP.for_paradigm(
        "contrastive",
        surrogate="clip_tiny",
        surrogate_epochs=1,
        surrogate_batch_size=8,
        warmup_steps=0,
        iterations=2,
        batch_size=8,
        granularity="pair",
    ),
}


@pytest.mark.parametrize("name", [*SEARCHES, *PAIRS])
def test_a_killed_search_goes_on_as_if_it_had_not_been(name, tmp_path, monkeypatch):
    monkeypatch.setattr("ue_bench.checkpoints.SHARE", 0)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    method, paradigm = {**SEARCHES, **PAIRS}[name], "contrastive" if name in PAIRS else "supervised"
    build = build_clip if name in PAIRS else build_victim

    def search(place=None):
        context = fresh_context(3, build=build)
        torch.manual_seed(3)
        if place is not None:
            context.ledger.checkpoints = each_step(place, context.clock)
        found = method.protect(ProtectorView(pictures(20), method.access, paradigm), context)
        return found, context.notes, context.ledger.checkpoints.resumed

    wanted, notes, _ = search()
    (found, noted, resumed), times = in_pieces(tmp_path, search, after=2)
    assert times >= 2 and resumed
    assert torch.equal(found.noise, wanted.noise) and torch.equal(found.rows, wanted.rows)
    assert found.triggers == wanted.triggers
    assert noted == notes
    left = {path.name.split(".")[0] for path in (tmp_path / "checkpoints").iterdir()}
    assert left <= {"trial-x"}, "what was prepared is removed with its end"


def test_endless_batches_go_on_within_a_pass():
    def batches():
        draw = torch.Generator().manual_seed(1)
        return Endless(lambda: shuffled(torch.arange(10), 3, draw), draw), draw

    (whole, _), (first, generator), (second, other) = batches(), batches(), batches()
    wanted = [next(whole).tolist() for _ in range(12)]
    for done in (0, 2, 3, 4):
        state, draws = first.state_dict(), generator.get_state()
        next(second)
        other.set_state(draws)
        second.load_state_dict(state)
        start = wanted.index(next(first).tolist())
        assert next(second).tolist() == wanted[start]
        for _ in range(done):
            next(first)
