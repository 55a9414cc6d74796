"""EM on pairs whose surrogate starts anew, from other weights, in each round."""

from __future__ import annotations

import pytest
import torch
from conftest import run_method
from paired import described, fresh_context, view_of

from ue_bench import ImageSet, ProtectorView
from ue_bench.contracts.context import surrogate_seed
from ue_bench.crafting import pairs
from ue_bench.errors import ConfigError
from ue_bench.training.optim import make_contrastive_optimizer
from ue_bench_methods.em import EM

SEARCH = {"max_rounds": 3, "model_steps": 2, "noise_steps": 2, "batch_size": 16}
STILL = {"learning_rate": 1e-12, "weight_decay": 0.0}  # training moves no weight that float32 can tell


def search(**more):
    method = EM.for_paradigm("contrastive", **SEARCH, **more)
    context, seeds = fresh_context(), []
    build = context.ledger.build_victim

    def noted(*what):
        seeds.append(what[3])
        return build(*what)

    context.ledger.build_victim = noted
    noise, built = run_method(method, view_of(method, described()), context)
    return noise, built, seeds


def test_every_round_begins_with_weights_of_its_own():
    _, built, seeds = search(redraw=True, **STILL)
    assert seeds[0] == surrogate_seed(0, "clip_rn50"), "the first round's surrogate is the one that all share"
    assert len(set(seeds)) == 3
    for name, weight in built[0].named_parameters():  # this one was trained through all rounds
        torch.testing.assert_close(weight, built[2].get_parameter(name), rtol=0, atol=1e-6)
    ours, first = (model.get_parameter("clip.visual.conv1.weight") for model in (built[0], built[1]))
    assert (ours - first).abs().max() > 0.01


def test_the_optimizer_forgets_with_the_weights(monkeypatch):
    made = []

    def noted(*what):
        made.append(make_contrastive_optimizer(*what))
        return made[-1]

    monkeypatch.setattr(pairs, "make_contrastive_optimizer", noted)
    search(redraw=True)
    (optimizer,) = made
    assert {int(state["step"]) for state in optimizer.state.values()} == {SEARCH["model_steps"]}


def test_noise_is_other_noise_than_one_surrogates():
    redrawn, one = (search(redraw=redraw)[0] for redraw in (True, False))
    assert not torch.equal(redrawn.noise, one.noise)


def test_ids_of_searches_without_it_stay():
    assert "redraw" not in EM.for_paradigm("contrastive").recorded("contrastive")
    assert EM.for_paradigm("contrastive", redraw=True).recorded("contrastive")["redraw"] is True


def test_supervised_runs_refuse_it():
    data = ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    method = EM(redraw=True)
    with pytest.raises(ConfigError, match="redraw is for contrastive runs"):
        method.protect(ProtectorView(data, method.access, "supervised", "em"), fresh_context())
