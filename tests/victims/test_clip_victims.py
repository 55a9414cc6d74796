"""CLIP victims: sizes, image sizes, weights, and what is said when something does not fit."""

from __future__ import annotations

import logging

import pytest
import safetensors.torch
import torch
from test_towers import CAPTIONS, RESNET, VIT

from ue_bench.errors import ConfigError, UnavailableError
from ue_bench.registry import Registry
from ue_bench.training.towers import Towers, trim
from ue_bench_methods.mem import MEM
from ue_bench_victims._openclip import build_clip

NAMED = {
    "clip_rn50": ("RN50", 102_007_137),
    "clip_rn101": ("RN101", 119_688_033),
    "clip_vit_b_32": ("ViT-B-32", 151_277_313),
    "clip_vit_b_16": ("ViT-B-16", 149_620_737),
}


def on_meta(architecture: str, size: int) -> Towers:
    """The shapes without the weights."""
    with torch.device("meta"):
        return build_clip(architecture, (size, size), device="meta")


@pytest.fixture
def tiny(tmp_path):
    """(file of a small model's weights, the model)."""
    torch.manual_seed(3)
    model = build_clip("RN50", (32, 32), **RESNET)
    safetensors.torch.save_file(model.clip.state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors", model.eval()


def sized(settings: dict) -> dict:
    """With weights a model keeps the size that it was trained at, here 32 pixels."""
    return {**settings, "vision_cfg": {**settings["vision_cfg"], "image_size": 32}}


@pytest.mark.parametrize("name", NAMED)
def test_weights_are_as_many_as_in_the_papers_code(name):
    victim = Registry().create("victims", name)
    architecture, count = NAMED[name]
    assert victim.architecture == architecture and victim.paradigms == {"contrastive"}
    assert sum(weight.numel() for weight in on_meta(architecture, 224).parameters()) == count


@pytest.mark.parametrize(
    ("architecture", "size", "tower"),
    [
        ("RN50", 160, 160),
        ("RN50", 100, 128),
        ("ViT-B-32", 96, 96),
        ("ViT-B-16", 40, 48),
        ("ViT-L-14", 64, 70),
    ],
)
def test_from_scratch_a_tower_is_built_for_the_data(architecture, size, tower):
    assert on_meta(architecture, size).tower_size == (tower, tower)


@torch.no_grad()
def test_every_size_gives_features():
    for settings, name, size in ((RESNET, "RN50", 64), (RESNET, "RN50", 40), (VIT, "ViT-B-16", 50)):
        model = build_clip(name, (size, size), **settings).eval()
        assert model.encode_image(torch.rand(2, 3, size, size)).shape == (2, 8)


@torch.no_grad()
def test_the_tiny_victim_is_seeded_and_fits_its_fields():
    registry = Registry()
    small = {"channels": 8, "width": 32, "layers": 1, "heads": 2, "token_width": 16, "embed": 12}
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(registry.create("victims", "clip_tiny", small).build(0, (32, 32)).eval())
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["clip.text.widen.weight"], states[2]["clip.text.widen.weight"])
    assert models[0].encode_text(trim(models[0].tokenize(CAPTIONS))).shape == (3, 12)
    layers = (
        registry.create("victims", "clip_tiny", {**small, "layers": 2})
        .build(0, (32, 32))
        .clip.text.transformer
    )
    first, second = (layer.linear1.weight for layer in layers.layers)
    assert not torch.equal(first, second), "layers start differently"
    for wrong, message in (
        ({"heads": 5}, "must divide width"),
        ({"layers": 0}, "at least 1"),
        ({"channels": 9}, "even"),
    ):
        with pytest.raises(ConfigError, match=message):
            registry.create("victims", "clip_tiny", wrong)


@torch.no_grad()
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_come_from_a_checkpoint(tiny, tmp_path, suffix):
    path, model = tiny
    if suffix == ".pt":
        path = tmp_path / "tiny.pt"
        torch.save({"state_dict": {f"module.{k}": v for k, v in model.clip.state_dict().items()}}, path)
    loaded = build_clip("RN50", (64, 64), checkpoint=str(path), **sized(RESNET)).eval()
    images = torch.rand(2, 3, 32, 32)
    assert loaded.tower_size == (32, 32), "as trained, whatever the data's size"
    assert torch.equal(loaded.encode_image(images), model.encode_image(images))
    tokens = model.tokenize(CAPTIONS)
    assert torch.equal(loaded.encode_text(tokens), model.encode_text(tokens))


def test_weights_of_plain_clip_fit_too(tiny, tmp_path):
    """OpenAI's and OpenCLIP's files name the text tower's parts without ``text.``."""
    _, model = tiny
    state = {key.removeprefix("text."): value for key, value in model.clip.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "plain.safetensors")
    loaded = build_clip("RN50", (32, 32), checkpoint=str(tmp_path / "plain.safetensors"), **sized(RESNET))
    assert torch.equal(loaded.token_embedding.weight, model.token_embedding.weight)


def test_a_bad_checkpoint_is_named_with_its_fault(tiny, tmp_path):
    _, model = tiny
    state = model.clip.state_dict()

    def saved(name: str, content) -> str:
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    short = saved("short.pt", {key: value for key, value in state.items() if "ln_final" not in key})
    wrong = saved("wrong.pt", {**state, "text.text_projection": torch.zeros(3, 5)})
    code = saved("code.pt", {"model": logging.Formatter()})
    (tmp_path / "noise.safetensors").write_bytes(b"not at all")
    (tmp_path / "weights.npz").write_bytes(b"")
    for file, message in [
        (short, r"short\.pt does not fit RN50: .*Missing key.*ln_final"),
        (wrong, r"wrong\.pt does not fit RN50: .*size mismatch.*text_projection"),
        (code, r"code\.pt does not fit RN50: .*[Ww]eights"),
        (str(tmp_path / "noise.safetensors"), r"noise\.safetensors does not fit"),
        (str(tmp_path / "weights.npz"), r"is none of \.safetensors"),
        (str(tmp_path / "absent.pt"), "is not a file"),
        (str(tmp_path), "is not a file"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_clip("RN50", (32, 32), checkpoint=file, **sized(RESNET))


def test_mistakes_about_weights_are_found_before_any_work():
    create = Registry().create
    with pytest.raises(ConfigError, match="quickgelu=true"):
        create("victims", "clip_rn50", {"pretrained": "openai"})
    assert create("victims", "clip_rn50", {"pretrained": "openai", "quickgelu": True}).quickgelu
    assert create("victims", "clip:RN50-quickgelu", {"pretrained": "openai"}).architecture == "RN50-quickgelu"
    with pytest.raises(ConfigError, match="is not a file"):
        create("victims", "clip_vit_b_16", {"checkpoint": "nowhere.pt"})
    with pytest.raises(ConfigError, match="unknown weights of RN50 'openay': did you mean 'openai'"):
        build_clip("RN50", (32, 32), pretrained="openay")


def test_a_checkpoint_is_loaded_instead_of_a_download(monkeypatch, tmp_path):
    """MEM's study of faces names OpenAI's weights, and a machine without a network has them as a file."""
    import open_clip

    asked = []

    def refuse(*args, **settings):
        asked.append(settings["pretrained"])
        raise RuntimeError("stop")

    monkeypatch.setattr(open_clip, "create_model", refuse)
    file = tmp_path / "openai.pt"
    file.write_bytes(b"")
    weights = {"pretrained": "openai", "checkpoint": str(file), "quickgelu": True}
    victim = Registry().create("victims", "clip_rn50", weights)
    with pytest.raises(ConfigError, match=r"openai\.pt does not fit RN50"):
        victim.build(0, (32, 32))
    assert asked == [str(file)]
    assert MEM(surrogate_pretrained="openai", surrogate_checkpoint=str(file))._weights() == weights


def test_weights_that_cannot_be_downloaded_name_the_way_out(monkeypatch):
    import open_clip

    def refuse(*args, **settings):
        assert settings["pretrained"] == "yfcc15m"
        raise RuntimeError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", refuse)
    with pytest.raises(
        UnavailableError, match=r"no route to host\. Without a network, give the file as checkpoint="
    ):
        build_clip("RN50", (32, 32), pretrained="yfcc15m")


def test_any_architecture_of_openclip_by_its_name():
    registry = Registry()
    victim = registry.create("victims", "clip:ViT-B-16")
    assert victim.architecture == "ViT-B-16"
    with pytest.raises(
        ConfigError, match="unknown architecture of OpenCLIP 'ViT-B-17': did you mean 'ViT-B-"
    ):
        registry.create("victims", "clip:ViT-B-17")
    with pytest.raises(ConfigError, match="reads captions in another way"):
        on_meta("coca_ViT-B-32", 224)


def test_quickgelu_is_another_function():
    torch.manual_seed(0)
    model = build_clip("ViT-B-16", (32, 32), **VIT).eval()
    quick = build_clip("ViT-B-16", (32, 32), quickgelu=True, **VIT).eval()
    quick.load_state_dict(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        difference = (model.encode_image(images) - quick.encode_image(images)).abs().max()
    assert 1e-6 < float(difference) < 0.1


def test_building_leaves_logging_as_it_was(caplog):
    before = list(logging.root.handlers), logging.root.manager.disable
    build_clip("RN50", (32, 32), **RESNET)
    assert (list(logging.root.handlers), logging.root.manager.disable) == before
    assert not caplog.records, "random weights are what a victim from scratch starts with"
