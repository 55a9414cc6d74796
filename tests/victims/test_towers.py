"""The one interface to CLIP models, on small models of OpenCLIP and on the tiny one."""

from __future__ import annotations

import copy
import math

import open_clip
import pytest
import torch
from conftest import build_victim
from torch import nn

from ue_bench.training.towers import MEAN, STD, Towers, contrastive_loss, trim
from ue_bench_victims._openclip import build_clip, tokenizer

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
RESNET = {"embed_dim": 8, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8}, "text_cfg": TEXT}
VIT = {
    "embed_dim": 8,
    "vision_cfg": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": TEXT,
}
CAPTIONS = ("A dog runs over the grass.", "two men", "a red kite high above an empty beach at noon")


def plain() -> Towers:
    """A model of OpenCLIP that was not built by us: its text tower takes whole rows only."""
    cfg = {**VIT, "vision_cfg": {**VIT["vision_cfg"], "image_size": 32}}
    return Towers(open_clip.create_model("ViT-B-16", **cfg), tokenizer(), (32, 32))


@pytest.fixture(scope="module")
def towers() -> dict[str, Towers]:
    torch.manual_seed(0)
    return {
        "resnet": build_clip("RN50", (32, 32), **RESNET),
        "vit": build_clip("ViT-B-16", (32, 32), **VIT),
        "plain": plain(),
        "tiny": build_victim("clip_tiny", 0, (32, 32), 0),
    }


@pytest.fixture(params=["resnet", "vit", "plain", "tiny"])
def tower(request, towers) -> Towers:
    return towers[request.param].eval()


@torch.no_grad()
def test_a_shorter_row_of_tokens_gives_the_same_features(tower):
    tokens = tower.tokenize(CAPTIONS)
    short = trim(tokens)
    assert short.shape[1] < 20 and tokens.shape == (3, 77)
    whole = tower.encode_text(tokens)
    assert torch.allclose(tower.encode_text(short), whole, atol=1e-5)
    assert torch.allclose(tower.encode_text(tokens[1:2, :4]), whole[1:2], atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3), "captions differ"


def test_features_have_length_one_and_any_image_size_will_do(tower):
    for size in ((32, 32), (40, 56), (20, 20)):
        images = torch.rand(2, 3, *size, requires_grad=True)
        features = tower.encode_image(images)
        assert features.dtype == torch.float32 and torch.allclose(features.norm(dim=1), torch.ones(2))
        features[:, 0].sum().backward()
        assert images.grad.abs().sum() > 0, "resizing lets gradients through"
    lengths = tower.encode_text(tower.tokenize(CAPTIONS)).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(3))


def test_what_the_interface_promises(tower):
    assert (tower.start_token, tower.end_token, tower.vocabulary) == (49406, 49407, 49408)
    assert tower.context_length == 77 and tower.tower_size == (32, 32)
    assert isinstance(tower.token_embedding, nn.Embedding)
    assert float(tower.scale.detach()) == pytest.approx(1 / 0.07, rel=1e-4)
    assert "mean" not in tower.state_dict() and "std" not in tower.state_dict()


def test_hooks_on_the_token_embedding_give_gradients_by_token(tower):
    kept = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    handle = tower.token_embedding.register_forward_hook(keep)
    tokens = trim(tower.tokenize(CAPTIONS[:2]))
    tower.encode_text(tokens)[:, 0].sum().backward()
    handle.remove()
    tower.zero_grad(set_to_none=True)
    gradient = kept[0].grad
    assert gradient.shape[0] == 2 and gradient.abs().sum(2)[0, :8].min() > 0
    assert float(gradient[1, 4:].abs().max()) == 0, "nothing behind the end token matters"


def test_a_copy_is_independent(tower):
    other = copy.deepcopy(tower)
    tokens = trim(tower.tokenize(CAPTIONS))
    with torch.no_grad():
        before = tower.encode_text(tokens)
        other.token_embedding.weight.normal_()
        assert torch.equal(tower.encode_text(tokens), before)
        assert not torch.allclose(other.encode_text(tokens), before, atol=1e-3)


def test_pixels_are_normalised_as_clip_wants_them():
    class Means(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(4, 2)

        def encode_image(self, images):
            return images.mean(dim=(2, 3))

    towers = Towers(Means(), tokenizer(), (8, 8))
    pixels = torch.tensor([0.25, 0.5, 1.0])
    wanted = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
    found = towers.encode_image(pixels.view(1, 3, 1, 1).expand(1, 3, 8, 8))
    assert torch.allclose(found[0], wanted / wanted.norm(), atol=1e-6)


def test_words_and_token_ids(towers):
    tower = towers["tiny"]
    tokens = tower.tokenize(["the  A dog"])
    assert tokens[0, :5].tolist() == [49406, 518, 320, 1929, 49407] and not tokens[0, 5:].any()
    assert tower.decode(tokens[0].tolist()) == "the a dog"
    assert tower.decode([1929, 518]) == "dog the"
    long = tower.tokenize(["dog " * 100])
    assert long.shape == (1, 77) and int(long[0, -1]) == 49407 and int(long[0, 0]) == 49406
    assert tower.tokenize([]).shape == (0, 77)


def test_trim_keeps_the_longest_caption_whole():
    tokens = torch.zeros(2, 77, dtype=torch.int64)
    tokens[0, :5] = torch.tensor([49406, 1, 2, 3, 49407])
    tokens[1, :3] = torch.tensor([49406, 4, 49407])
    assert torch.equal(trim(tokens), tokens[:, :5])
    assert trim(tokens[:0]).shape == (0, 77)


def test_the_loss_by_hand():
    two = torch.eye(2)
    for scale in (0.0, 1.0, 10.0):
        loss = contrastive_loss(two, two, torch.tensor(scale))
        assert float(loss) == pytest.approx(math.log(1 + math.exp(-scale)), abs=1e-6)
    alike = torch.ones(5, 4) / 2
    assert float(contrastive_loss(alike, alike, torch.tensor(14.3))) == pytest.approx(math.log(5))
    # images (1, 0), (0, 1); both captions (1, 0): image 0's row is (1, 1), image 1's (0, 0): log 2 each way round;
    # caption columns are (1, 0) and (1, 0): caption 0 is right, caption 1 wrong.
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert float(contrastive_loss(two, texts, torch.tensor(1.0))) == pytest.approx(
        (math.log(2) + (right + wrong) / 2) / 2
    )


def test_the_loss_is_computed_in_float32_under_autocast():
    features = torch.nn.functional.normalize(
        torch.randn(16, 32, generator=torch.Generator().manual_seed(0)), dim=1
    )
    plain = contrastive_loss(features, features, torch.tensor(100.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_loss(features, features, torch.tensor(100.0)), plain)
