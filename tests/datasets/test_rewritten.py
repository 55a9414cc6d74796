"""Captions written anew (T2UE, table 7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ue_bench.datasets.rewritten import Rewritten
from ue_bench.errors import ConfigError, DataError, UnavailableError
from ue_bench.registry import Registry

WORDS = ("train_images=6", "test_images=3", "captions_per_image=3")


REGISTRY = Registry([Path(__file__).parents[1] / "content"])


def rewritten(**values) -> Rewritten:
    return REGISTRY.create("datasets", "rewritten", {"of": "shapes", "words": WORDS, **values})


def source(size: int = 16):
    return REGISTRY.create(
        "datasets", "shapes", {"train_images": 6, "test_images": 3, "captions_per_image": 3}
    ).load(size)


def test_its_own_other_captions_and_its_first_ones_part_the_captions():
    own = source()
    others = rewritten(keep="others").load(16)
    first = rewritten(keep="first").load(16)
    assert [a + b for a, b in zip(first.train.captions, others.train.captions, strict=True)] == list(
        own.train.captions
    )
    assert others.test.captions == own.test.captions and (others.train.images == own.train.images).all()
    assert others.train.fingerprint != own.train.fingerprint
    assert "all captions but the first" in rewritten(keep="others").label()


def test_captions_from_a_file(tmp_path):
    path = tmp_path / "alternatives.csv"
    path.write_text("image,caption\n" + "".join(f"{n},text {n}\n" for n in (5, 4, 3, 2, 1, 0, 0)))
    found = rewritten(captions=str(path)).load(16).train.captions
    assert found == (("text 0", "text 0"), ("text 1",), ("text 2",), ("text 3",), ("text 4",), ("text 5",))
    path.write_text("image,caption\n0,a\n9,b\nx,c\n1,\n")
    with pytest.raises(DataError, match=r"line 5 \(no text\)"):
        rewritten(captions=str(path)).load(16)
    path.write_text("\ufeffimage;caption\n" + "".join(f"{n};text {n}\n" for n in range(6)), encoding="utf-8")
    spreadsheet = rewritten(captions=str(path), keep="others").load(16).train
    assert spreadsheet.captions == tuple((f"text {n}",) for n in range(6)), (
        "the suite's keep gives way to a file"
    )
    path.write_text("picture,text\n")
    with pytest.raises(DataError, match="no column of images"):
        rewritten(captions=str(path)).load(16)


def test_exactly_one_way_is_asked_for():
    for wrong in (
        {},
        {"captions": "a.csv", "model": "x"},
        {"keep": "some"},
        {"of": "rewritten", "keep": "first"},
    ):
        with pytest.raises((ConfigError, UnavailableError), match="rewritten"):
            Rewritten(**wrong)
    with pytest.raises(DataError, match="no folder"):
        rewritten(model="nowhere").load(16)
    with pytest.raises(DataError, match="needs two captions"):
        rewritten(words=(*WORDS[:2], "captions_per_image=1"), keep="others").load(16)


def test_a_git_model_writes_captions(tmp_path):
    """The real loading code on a tiny, random model of that kind."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    image_processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.GitConfig(
        vision_config={**tiny, "image_size": 16, "patch_size": 8},
        vocab_size=len(words),
        bos_token_id=2,
        eos_token_id=3,
        **tiny,
    )
    model = transformers.GitForCausalLM(config)
    folder = tmp_path / "git"
    transformers.GitProcessor(image_processor, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    made = [rewritten(model=str(folder), per_image=2).load(16).train for _ in range(2)]
    assert made[0].captions == made[1].captions and all(len(texts) == 2 for texts in made[0].captions)
    assert made[0].captions != source().train.captions and all(
        text for texts in made[0].captions for text in texts
    )
    assert (made[0].images == source().train.images).all(), "only captions are of altered copies"


def test_the_registry_gives_the_dataset_that_is_changed():
    """It may be a plug-in's; a name that does not exist is found before any work."""
    assert rewritten(of="blobs", words=(), keep="first").source.name == "blobs"
    with pytest.raises(ConfigError, match="unknown dataset 'shape': did you mean 'shapes'"):
        rewritten(of="shape", keep="first")
    with pytest.raises(ConfigError, match=r"Registry\(\).create"):
        Rewritten(of="shapes", keep="first").load(16)
