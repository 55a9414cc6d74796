"""The generator: its layout, what it does with text and mask, bounds, and the fast pass that makes noise."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from ue_bench.errors import ConfigError, UnavailableError
from ue_bench_methods._t2ue.generator import (
    SSAGAN,
    TextNorm,
    bounded,
    channel_plan,
    doubled_smoothly,
    load_generator,
    resized,
    seeded_ssagan,
)
from ue_bench_methods._t2ue.synthesis import Synthesiser, strips

TEXT = 24


def inputs(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(random vectors, texts)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 100, generator=generator), torch.randn(count, TEXT, generator=generator)


def listening(filters: int = 4, size: int = 32) -> SSAGAN:
    """A network as training leaves it: nothing is zero, and statistics are no fresh ones."""
    network = seeded_ssagan(filters, TEXT, size, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("strength") or "gain.2" in name or "shift.2" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.2 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network.eval()


def build(filters: int, text: int, size: int) -> SSAGAN:
    with torch.device("meta"):
        return SSAGAN(filters, text, size)


@pytest.mark.parametrize(
    ("filters", "text", "size", "weights", "buffers"),
    [
        (64, 512, 256, 31_329_281, 12_430),
        (64, 256, 256, 29_494_273, 12_430),
        (128, 1024, 256, 105_386_241, None),
        (64, 512, 64, 18_864_349, None),
        (64, 512, 32, 12_631_883, None),
        (16, 512, 32, 3_382_667, None),
    ],
)
def test_the_number_of_weights(filters, text, size, weights, buffers):
    network = build(filters, text, size)
    assert sum(weight.numel() for weight in network.parameters()) == weights
    if buffers:
        assert sum(buffer.numel() for buffer in network.buffers()) == buffers


def shapes_of_ssagan() -> list[tuple[int, ...]]:
    """Of SSA-GAN's own generator, 64 filters and 256-d text, in its order: strength, convolutions, norms, shortcut."""

    def norm(channels):
        return [(channels,), (channels,), ()]

    def mask(channels):
        return [(100, channels, 3, 3), (100,), (100,), (100,), *norm(100), (1, 100, 1, 1), (1,)]

    def text(channels):
        return [*norm(channels), *2 * [(256, 256), (256,), (channels, 256), (channels,)]]

    def block(before, after):
        shapes = [(1,), (after, before, 3, 3), (after,), (after, after, 3, 3), (after,)]
        shapes += [*text(before), *text(after)]
        shapes += [(after, before, 1, 1), (after,)] if before != after else []
        return shapes + (mask(after) if after != 64 else [])

    widths = [512, 512, 512, 512, 512, 256, 128, 64]
    blocks = [block(*pair) for pair in itertools.pairwise(widths)]
    head = [(64,), (64,), *norm(64), (3, 64, 3, 3), (3,)]
    return [*mask(512), (8192, 100), (8192,), *(shape for b in blocks for shape in b), *head]


def test_the_layout_is_ssagans():
    assert [tuple(tensor.shape) for tensor in build(64, 256, 256).state_dict().values()] == shapes_of_ssagan()


def test_channel_plans():
    assert channel_plan(256) == [8, 8, 8, 8, 8, 4, 2, 1]
    assert channel_plan(64) == [8, 8, 8, 4, 2, 1]
    assert channel_plan(32) == [8, 8, 4, 2, 1]
    for wrong in (224, 8, 0, -4, 2048):
        with pytest.raises(ConfigError, match="power of 2"):
            channel_plan(wrong)


@pytest.mark.parametrize("size", [32, 64])
def test_a_fresh_network_hears_no_text(size):
    network = seeded_ssagan(4, TEXT, size, seed=0).eval()
    (latent, one), (other, two) = inputs(2, 0), inputs(2, 1)
    with torch.no_grad():
        noise = network(latent, one)
        assert noise.shape == (2, 3, size, size) and float(noise.abs().max()) < 1
        assert torch.equal(noise, network(latent, two))
        assert float((noise - network(other, one)).abs().mean()) > 1e-3


def test_a_network_that_learned_hears_it():
    network = listening()
    (latent, one), (_, two) = inputs(2, 0), inputs(2, 1)
    with torch.no_grad():
        assert float((network(latent, one) - network(latent, two)).abs().mean()) > 1e-3


def test_text_norm_by_hand():
    """(1 + 0.5 * 2) * (6 - 4) / 2 + 0.5 * 10 = 7, and where the mask is 0 only the normalised 1."""
    norm = TextNorm(1, 3).eval()
    norm.norm.running_mean.fill_(4.0)
    norm.norm.running_var.fill_(4.0 - norm.norm.eps)
    with torch.no_grad():
        norm.gain[2].bias.fill_(2.0)
        norm.shift[2].bias.fill_(10.0)
        mask = torch.tensor([0.5, 0.0]).view(1, 1, 1, 2)
        found = norm(torch.full((1, 1, 1, 2), 6.0), mask, torch.zeros(1, 3))
    assert torch.allclose(found.flatten(), torch.tensor([7.0, 1.0]))


def test_each_block_gets_the_mask_that_the_one_before_predicted():
    network, seen = listening(), []
    for block in network.blocks:
        block.register_forward_hook(lambda _, given, result: seen.append((given, result)))
    with torch.no_grad():
        network(*inputs(2))
    sides = [4, 8, 16, 32]
    assert [given[1].shape for given, _ in seen] == [(2, 1, side, side) for side in sides]
    for (_, (features, logits)), ((next_features, mask, _), _) in itertools.pairwise(seen):
        smooth = functional.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=True)
        assert torch.allclose(mask, smooth.sigmoid(), atol=1e-6)
        assert torch.equal(next_features, features.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_masks_double_bilinearly_with_their_corners_kept():
    assert doubled_smoothly(torch.tensor([[[[0.0, 3.0]]]])).tolist() == [[[[0, 1, 2, 3]] * 2]]


def test_bounds():
    raw = torch.tensor([-0.9, 0.01, 0.5]).view(1, 3, 1, 1)
    assert torch.allclose(bounded(raw, 0.1, "scale").flatten(), torch.tensor([-0.09, 0.001, 0.05]))
    assert torch.allclose(bounded(raw, 0.1, "clamp").flatten(), torch.tensor([-0.1, 0.01, 0.1]))
    with pytest.raises(ConfigError, match="clamp"):
        bounded(raw, 0.1, "clip")


@pytest.mark.parametrize("side", [32, 64, 96, 100, 160, 224])
def test_noise_is_resized_to_the_nearest_row_and_column(side):
    noise = torch.arange(256.0 * 256).view(1, 1, 256, 256).expand(1, 3, 256, 256)
    kept = [index * 256 // side for index in range(side)]
    assert torch.equal(resized(noise, (side, side)), noise[:, :, kept][..., kept])
    if side == 32:
        assert kept == list(range(0, 256, 8))
    assert resized(noise, (256, 256)) is noise


def test_noise_does_not_depend_on_its_batch_mates():
    network, (latent, text) = listening(), inputs(6)
    with torch.no_grad():
        for make in (network, Synthesiser(network)):
            whole = make(latent, text)
            assert torch.allclose(make(latent[:1], text[:1]), whole[:1], atol=1e-6)
        network.train()
        assert not torch.allclose(network(latent[:2], text[:2]), network(latent, text)[:2], atol=1e-2)


@pytest.mark.parametrize(("filters", "size"), [(4, 32), (3, 64), (2, 256)])
def test_the_fast_pass_gives_the_same_noise(filters, size):
    network, (latent, text) = listening(filters, size), inputs(3)
    with torch.no_grad():
        plain = network(latent, text)
        fast = Synthesiser(network)(latent, text)
    assert fast.shape == plain.shape and float(plain.std()) > 0.01
    assert float((fast - plain).abs().max()) * 8 / 255 < 1e-6


def test_the_fast_pass_leaves_the_network_alone():
    network = listening()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Synthesiser(network)(*inputs(2))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("images", "side", "channels", "times"), [(5, 4, 8, 1), (3, 32, 16, 2), (2, 9, 5, 1)]
)
def test_strips_cover_every_row_of_every_image_once(monkeypatch, images, side, channels, times):
    monkeypatch.setattr("ue_bench_methods._t2ue.synthesis.STRIP_BYTES", 2**10)
    maps = torch.zeros(images, side, side, channels)
    seen = torch.zeros(images, side * times, dtype=torch.int64)
    for some, top, bottom in strips(maps, times):
        assert top % times == 0 == bottom % times
        seen[some, top:bottom] += 1
    assert bool((seen == 1).all()) and len(strips(maps, times)) > 1


@pytest.mark.parametrize("size", [2**10, 2**14])
def test_strips_make_no_difference(monkeypatch, size):
    network, (latent, text) = listening(4, 64), inputs(3)
    whole = Synthesiser(network)(latent, text)
    monkeypatch.setattr("ue_bench_methods._t2ue.synthesis.STRIP_BYTES", size)
    assert torch.allclose(Synthesiser(network)(latent, text), whole, atol=1e-6)


def test_a_generator_is_loaded_from_its_tensors():
    network = listening(filters=3, size=64)
    loaded = load_generator(network.state_dict())
    with torch.no_grad():
        assert torch.equal(loaded(*inputs(2)), network(*inputs(2)))
    assert not loaded.training and not any(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.parametrize("lost", ["head.0.weight", "blocks.1.conv1.weight"])
def test_other_tensors_are_refused(lost):
    tensors = {name: value for name, value in listening().state_dict().items() if name != lost}
    with pytest.raises(UnavailableError, match="no generator"):
        load_generator(tensors)


def test_a_seed_decides_the_weights():
    one, two, three = (seeded_ssagan(2, 8, 32, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["stem.weight"], three["stem.weight"])
