"""Where networks start: surrogates as their papers' networks do, victims as their library draws them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ue_bench import Context
from ue_bench.clock import Clock
from ue_bench.contracts.ledger import Ledger
from ue_bench.describe import describe
from ue_bench.errors import ConfigError
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.training.starts import begin
from ue_bench.trials.environment import Environment

REGISTRY = Registry()
ENVIRONMENT = Environment("", "cpu")
SIZE = (32, 32)
FOLLOWED = {"em": "pytorch", "emax": "pytorch", "uc": "pytorch"} | dict.fromkeys(
    ("tap", "uap", "cp", "tue"), "torchvision"
)


def surrogate(name: str, seed: int = 0, **how) -> nn.Module:
    context = Context(
        torch.device("cpu"), seed, Clock(torch.device("cpu")), Progress(), Ledger(ENVIRONMENT.build_victim)
    )
    return context.surrogate(name, 10, SIZE, **how)


def victim(name: str, **parameters) -> nn.Module:
    return ENVIRONMENT.build_victim(name, 10, SIZE, 0, parameters)


def norm_weights(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight.detach() for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


def convolutions(model: nn.Module) -> list[torch.Tensor]:
    return [layer.weight.detach() for layer in model.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("name", ["resnet_tiny", "resnet18"])
def test_a_surrogate_starts_as_pytorch_does(name):
    """Uniform within 1 / sqrt(fan-in), up to that bound; every batch norm's weight is 1."""
    model = surrogate(name)
    assert all(bool((weight == 1).all()) for weight in norm_weights(model))
    for weight in [*convolutions(model), model.fc.weight.detach()]:
        bound = 1 / math.sqrt(weight[0].numel())
        assert 0.95 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("name", ["resnet_tiny", "resnet18"])
def test_torchvisions_start_has_fan_out_weights_and_batch_norms_of_one(name):
    model = surrogate(name, start="torchvision")
    assert all(bool((weight == 1).all()) for weight in norm_weights(model))
    for weight in convolutions(model):
        fan_out = len(weight) * weight[0, 0].numel()
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    assert float(model.fc.weight.detach().abs().max()) <= 1 / math.sqrt(model.fc.in_features)


def test_a_victim_starts_as_timm_does_unless_it_is_told():
    timms, told = victim("resnet_tiny"), victim("resnet_tiny", start="pytorch")
    last = [block[-1].bn2.weight for block in (timms.layer1, timms.layer2, timms.layer3, timms.layer4)]
    assert not any(bool(weight.any()) for weight in last), "timm sets the last batch norm of each block to 0"
    assert all(bool((weight == 1).all()) for weight in norm_weights(told))
    fan_in = convolutions(timms)[-1][0].numel()
    assert (
        float(convolutions(timms)[-1].abs().max())
        > 1 / math.sqrt(fan_in)
        >= float(convolutions(told)[-1].abs().max())
    )


def test_its_own_start_is_the_victims_and_seeds_decide():
    state = surrogate("resnet_tiny", start="own").state_dict()
    assert not bool(state["layer1.0.bn2.weight"].any())
    before = torch.random.get_rng_state()
    one, again, other = (surrogate("vgg_tiny", seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_clip_keeps_its_own_start():
    towers = [surrogate("clip_tiny", start=start).state_dict() for start in ("pytorch", "own")]
    assert all(torch.equal(towers[0][key], towers[1][key]) for key in towers[0])


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'pytorch'"):
        begin(nn.Linear(1, 1), "pytorc")
    with pytest.raises(ConfigError, match="start"):
        REGISTRY.create("victims", "resnet_tiny", {"start": "timm"})


@pytest.mark.parametrize(("name", "start"), FOLLOWED.items())
def test_methods_tell_the_start_of_their_surrogate(name, start):
    """In ``show``, and in ids and records wherever an image classifier is trained."""
    told = next(
        line for line in describe(REGISTRY.find("methods", name)).splitlines() if "surrogate_start" in line
    )
    assert f"surrogate_start = '{start}'" in told and "[one of pytorch, torchvision, own]" in told
    settings = {"tue": {"framework": "moco"}, "uc": {"surrogate": "rotation:resnet_tiny"}}.get(name, {})
    method = REGISTRY.create("methods", name, settings, "supervised")
    assert method.recorded("supervised")["surrogate_start"] == start


def test_ids_are_as_before_where_no_image_classifier_is_trained():
    for name, settings, paradigm in [
        *((name, {}, "contrastive") for name in ("em", "tap", "uap")),
        ("tue", {}, "supervised"),
        ("uc", {"surrogate": "timm:resnet18"}, "supervised"),
    ]:
        method = REGISTRY.create("methods", name, settings, paradigm)
        assert "surrogate_start" not in method.recorded(paradigm), (name, paradigm)
    resnet = REGISTRY.create("victims", "resnet_tiny")
    assert resnet.recorded() == {"channels": 16, "stem_stride": 2}
    assert REGISTRY.create("victims", "resnet_tiny", {"start": "pytorch"}).recorded()["start"] == "pytorch"
