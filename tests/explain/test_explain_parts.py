"""What pictures of a trial are made of: shares of words, maps over pictures, features, places of words."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import CPU
from torch import nn

from ue_bench.errors import UnavailableError
from ue_bench.explain.canvas import Word, place_words, printable
from ue_bench.explain.cards import psnr
from ue_bench.explain.features import Panel, draw_panels, embed, penultimate
from ue_bench.explain.gradients import attention_maps, find_place, read_caption
from ue_bench.explain.samples import Sample, batches
from ue_bench.registry import Registry
from ue_bench.report.figures.style import save
from ue_bench_victims._openclip import build_clip


@pytest.fixture(scope="module")
def towers():
    torch.manual_seed(0)
    sizes = {"channels": 8, "width": 32, "layers": 1, "heads": 2, "token_width": 16, "embed": 32}
    made = Registry().create("victims", "clip_tiny", sizes).build(0, (32, 32)).eval()
    with torch.no_grad():
        made.token_embedding.weight.mul_(30)  # so that words matter before any training
    return made


def test_words_shares_sum_to_what_the_words_change(towers):
    """Completeness: 64 steps of Gauss-Legendre come within 1 percent of the difference, plus 0.001."""
    tokens = towers.tokenize(["a small yellow dog runs over the grass"])
    picture = towers.encode_text(tokens).detach()  # a picture that fits the caption wholly
    reading = read_caption(towers, picture, tokens)
    assert len(reading.shares) == 10 and reading.similarity == pytest.approx(1, abs=1e-5)
    change = reading.similarity - reading.blank
    assert abs(change) > 0.05, "the words matter"
    assert float(reading.shares.sum()) == pytest.approx(change, rel=0.01, abs=1e-3)
    assert float(reading.shares[0]) == float(reading.shares[-1]) == 0, "start and end are the same in both"
    assert float(reading.shares.abs().max()) > 0.01


def test_maps_of_a_convolutional_tower(towers):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    place = find_place(towers, towers.encode_image, images[:1])
    assert (place.name, place.grid, place.tokens) == ("clip.visual.layer3", (4, 4), False)
    read = towers.encode_text(towers.tokenize(["a dog", "a cat", "a boat"])).detach()

    def score(images, read):
        return (towers.encode_image(images) * read).sum(1)

    maps = attention_maps(place, score, images, read)
    assert maps.shape == (3, 4, 4) and float(maps.min()) >= 0 and float(maps.max()) > 0
    assert torch.allclose(attention_maps(place, score, images[1:2], read[1:2])[0], maps[1], atol=1e-6)
    caught = []
    hook = place.module.register_forward_hook(lambda module, inputs, output: caught.append(output))
    value = score(images, read)
    hook.remove()
    (gradient,) = torch.autograd.grad(value.sum(), caught[0])
    by_hand = (gradient.mean((2, 3), keepdim=True) * caught[0]).sum(1).clamp_min(0)
    assert torch.allclose(maps, by_hand.detach(), atol=1e-6)


def test_maps_of_openclips_towers_and_of_transformers():
    torch.manual_seed(0)
    small = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"layers": 1, "width": 32, "heads": 2}
    clip = build_clip("ViT-B-32", (32, 32), vision_cfg={**small}, text_cfg=text, embed_dim=16).eval()
    images = torch.rand(2, 3, 32, 32)
    place = find_place(clip, clip.encode_image, images[:1])
    assert place.tokens and place.grid == (4, 4) and place.name.endswith("resblocks.1")
    maps = attention_maps(place, lambda images: clip.encode_image(images)[:, 0], images)
    assert maps.shape == (2, 4, 4) and float(maps.min()) >= 0 and float(maps.max()) > 0
    resnet = build_clip(
        "RN50", (128, 128), vision_cfg={"layers": [1, 1, 1, 1], "width": 8}, text_cfg=text, embed_dim=8
    )
    place = find_place(resnet.eval(), resnet.encode_image, torch.rand(1, 3, 128, 128))
    assert (place.name, place.grid, place.tokens) == ("clip.visual.layer4", (4, 4), False)
    vit = Registry().create("victims", "vit_tiny").build(4, (32, 32)).eval()
    place = find_place(vit, vit, images[:1])
    assert place.tokens and place.grid == (8, 8) and "gradient x activation" in str(place)
    maps = attention_maps(place, vit, images, target=torch.tensor([1, 3]))
    assert maps.shape == (2, 8, 8) and float(maps.min()) >= 0 and float(maps.max()) > 0


class Odd(nn.Module):
    """Patches, then blocks of two norms that keep their height and width."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8))
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        return self.head(self.block(self.patches(images).permute(0, 2, 3, 1)).mean((1, 2)))


def test_where_no_map_can_be_read_it_is_said():
    image = torch.rand(1, 3, 32, 32)
    with pytest.raises(UnavailableError, match="block.* does not read one token a patch"):
        find_place(odd := Odd().eval(), odd, image)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))
    with pytest.raises(UnavailableError, match="no convolution of Sequential gives a map of 4x4"):
        find_place(flat, flat, image)


def test_features_are_what_the_last_linear_layer_gets():
    torch.manual_seed(0)
    model = Registry().create("victims", "resnet_tiny", {"channels": 8}).build(4, (16, 16)).eval()
    images = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    found = penultimate(model, images, CPU)
    wanted = model.forward_head(model.forward_features(next(batches(images, CPU))), pre_logits=True)
    assert found.shape == (5, 64) and torch.allclose(found, wanted.detach(), atol=1e-6)
    assert not any(layer._forward_pre_hooks for layer in model.modules())
    with pytest.raises(UnavailableError, match="Conv2d has neither a linear layer"):
        penultimate(nn.Conv2d(3, 3, 1), images, CPU)


def test_points_are_laid_out_the_same_way_every_time():
    generator = torch.Generator().manual_seed(0)
    near, far = (torch.randn(12, 8, generator=generator) * 0.1 + shift for shift in (0, 5))
    first, again = embed(torch.cat([near, far])), embed(torch.cat([near, far]))
    assert torch.equal(first, again) and first.shape == (24, 2)
    gap = (first[:12].mean(0) - first[12:].mean(0)).norm()
    assert float(gap) > float(first[:12].std(dim=0).max()), "two heaps stay two heaps"
    assert embed(torch.ones(9, 4)) is None and embed(torch.full((9, 4), math.nan)) is None


def test_a_class_may_be_called_what_mathematics_cannot_read(tmp_path):
    names = tuple("$x_{$" if number % 2 else r"$\frac{1$" for number in range(8))
    sample = Sample("test pictures", torch.zeros(8, 3, 4, 4, dtype=torch.uint8), torch.arange(8) % 2, names)
    panel = Panel("a $_{$ panel", sample, (torch.randn(8, 5, generator=torch.Generator().manual_seed(0)),))
    assert save(draw_panels(["trial $_{$"], [panel]), tmp_path, "features", ("png",))[0].stat().st_size > 0


def test_words_are_placed_by_hand():
    words = [Word("a"), Word("dog"), Word("runs")]
    assert [(line, column) for _, line, column in place_words(words, 6, 2, 1)] == [(0, 0), (0, 2), (1, 0)]
    cut = place_words(words, 6, 1, 1)
    assert cut[-1][0].text == "..." and all(
        line == 0 and column + len(w.text) <= 6 for w, line, column in cut
    )
    assert place_words([Word("x" * 50)], 10, 1, 1)[0][0].text == "x" * 7 + "..."
    assert printable("grass \N{GRINNING FACE WITH STAR EYES}\n$5") == "grass ▯ $5"


def test_psnr_by_hand():
    clean = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    assert psnr(clean, clean + 1) == pytest.approx(20 * math.log10(255)) and psnr(clean, clean) == math.inf
