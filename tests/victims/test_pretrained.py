"""Victims that start from weights in a file."""

from __future__ import annotations

import pytest
import safetensors.torch
import timm
import torch

from ue_bench import Recipe
from ue_bench.errors import ConfigError
from ue_bench.registry import Registry
from ue_bench_victims.pretrained import Pretrained

NAME = "test_resnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights of a tiny network of 1,000 classes, and the network."""
    torch.manual_seed(3)
    model = timm.create_model(NAME, num_classes=1000)
    path = tmp_path_factory.mktemp("weights") / "all.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    return path, model


def test_all_but_the_last_layer_are_the_files(weights):
    path, model = weights
    victim = Registry().create("victims", f"pretrained:{NAME}", {"weights": str(path)})
    built = victim.build(5, (32, 32)).eval()
    assert built(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    own = built[1].state_dict()
    head = model.default_cfg["classifier"]
    assert all(
        torch.equal(own[name], value) for name, value in model.state_dict().items() if head not in name
    )
    assert own[f"{head}.weight"].shape[0] == 5
    assert all(weight.requires_grad for weight in built.parameters())


def test_pixels_are_normalised_as_the_weights_expect(weights):
    built = Pretrained(architecture=NAME, weights=str(weights[0])).build(5, (32, 32)).eval()
    mean, deviation = (torch.tensor(built[1].default_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(built(images), built[1]((images - mean) / deviation), atol=1e-6)


def test_it_is_fine_tuned_at_a_hundredth_of_the_rate(weights):
    assert Pretrained(architecture=NAME, weights=str(weights[0])).recipe(
        Recipe()
    ).learning_rate == pytest.approx(0.001)


def test_other_content_in_the_file_is_another_victim(weights, tmp_path):
    path = tmp_path / "mine.pt"
    editions = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(timm.create_model(NAME, num_classes=2).state_dict(), path)
        victim = Pretrained(architecture=NAME, weights=str(path))
        victim.build(2, (32, 32))
        editions.append(victim.edition())
    assert editions[0] != editions[1]


def test_what_is_wrong_with_the_weights_is_told(weights, tmp_path):
    with pytest.raises(ConfigError, match=rf"pretrained:{NAME} needs a file.*timm:{NAME}"):
        Pretrained(architecture=NAME)
    assert "there is no file" in Pretrained(architecture=NAME, weights=str(tmp_path / "no.pt")).unavailable()
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ConfigError, match="cannot be read"):
        Pretrained(architecture=NAME, weights=str(tmp_path / "text.pt")).build(2, (32, 32))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ConfigError, match="no state dict"):
        Pretrained(architecture=NAME, weights=str(tmp_path / "list.pt")).build(2, (32, 32))
    with pytest.raises(ConfigError, match="are not those of test_vit at 32 x 32 pixels: they have no "):
        Pretrained(architecture="test_vit", weights=str(weights[0])).build(2, (32, 32))
