"""Flickr8k, Flickr30k and MS-COCO: each layout on a small fake, every kind of damage named, real Flickr8k."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caption_fakes import NAMES, grey_of, greys, karpathy, write_csv, write_images, write_json, write_kaggle
from fakes import as_images, encode, pixels

from ue_bench.data import decode
from ue_bench.data.cache import forget, load_cached
from ue_bench.data.decode import decode_image
from ue_bench.data.pictures import Picture, choose, divide
from ue_bench.datasets.flickr8k import Flickr8k
from ue_bench.datasets.flickr30k import Flickr30k
from ue_bench.datasets.mscoco import Mscoco
from ue_bench.datasets.tiny_mscoco import TinyMscoco
from ue_bench.errors import ConfigError, DataError

# layouts of Flickr8k


def write_caption_parquet(path: Path, count: int, group: int = 3) -> list[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    payloads = [encode(pixels()) for _ in range(count)]
    texts = [[f" row {row} text {k}" for k in range(5)] for row in range(count)]
    table = pa.table({"image": as_images(payloads), "captions": texts})
    pq.write_table(table, path, row_group_size=group)
    return payloads


@pytest.mark.parametrize(
    "pattern", ["{}.parquet", "{}-00000-of-00001.parquet", "data/{}-00000-of-00001.parquet"]
)
def test_flickr8k_in_parquet(data, pattern):
    payloads = write_caption_parquet(data / "flickr8k" / pattern.format("train"), 10)
    write_caption_parquet(data / "flickr8k" / pattern.format("test"), 4)
    split = Flickr8k().load(None)
    assert (split.train.images.numpy() == np.stack([decode_image(each) for each in payloads])).all()
    assert split.train.captions[3] == tuple(f"row 3 text {k}" for k in range(5))
    assert split.train.labels is None and split.train.class_names is None
    assert len(split.test.pairs) == 20
    assert Flickr8k().label() == "Flickr8k (8x8 PNG copy)"


def test_a_subset_decodes_its_own_images_only(data, monkeypatch):
    payloads = write_caption_parquet(data / "flickr8k/train.parquet", 12)
    write_caption_parquet(data / "flickr8k/test.parquet", 6)
    decoded, groups = [], []
    real_decode, real_batches = decode.decode_image, pq.ParquetFile.iter_batches

    def count(payload, image_size=None):
        decoded.append(payload)
        return real_decode(payload, image_size)

    def watch(self, *args, row_groups=None, **options):
        groups.extend(row_groups)
        return real_batches(self, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(decode, "decode_image", count)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watch)
    rows = choose(12, 2, 0, "train")
    split = Flickr8k(train_images=2, test_images=1, captions_per_image=2).load(None)
    assert decoded[:2] == [payloads[row] for row in rows] and len(decoded) == 3
    assert groups[:-1] == sorted({row // 3 for row in rows})
    assert split.train.captions == tuple((f"row {row} text 0", f"row {row} text 1") for row in rows)


@pytest.mark.parametrize("layout", ["kaggle", "parquet"])
def test_halves_share_no_image_and_say_so(data, layout):
    if layout == "kaggle":
        write_kaggle(data / "flickr8k")
    else:
        write_caption_parquet(data / "flickr8k/train.parquet", 13)
        write_caption_parquet(data / "flickr8k/test.parquet", 4)
    whole, public, protected = (Flickr8k(half=half).load(None) for half in ("", "public", "protected"))
    sides = [set(split.train.captions) for split in (public, protected)]
    assert not sides[0] & sides[1] and sides[0] | sides[1] == set(whole.train.captions)
    assert abs(len(sides[0]) - len(sides[1])) <= 1 and public.test.captions == whole.test.captions
    other = Flickr8k(half="public", seed=1, layout=layout).load(None)
    assert layout == "kaggle" or set(other.train.captions) != sides[0]
    few = Flickr8k(half="protected", train_images=3).load(None)
    assert set(few.train.captions) < sides[1] and len(few.train) == 3
    assert "public half of seed 0" in Flickr8k(half="public").label()


def test_subsets_are_seeded_and_nested():
    small, large = choose(1000, 64, 0, "train"), choose(1000, 200, 0, "train")
    assert small == choose(1000, 64, 0, "train") == sorted(set(small)) and set(small) < set(large)
    assert small != choose(1000, 64, 1, "train") and small != choose(1000, 64, 0, "test")
    assert 300 < np.mean(large) < 700  # from the whole, not from its beginning
    assert choose(3, None, 0, "train") == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"train_images is 7, but the train part has 6 images"):
        choose(6, 7, 0, "train")


@pytest.mark.parametrize("folder", ["images", "Flicker8k_Dataset"])
def test_flickr8k_in_karpathys_layout(data, folder):
    parts = ["train", "restval", "val", "test", "train"]
    write_images(data / "flickr8k" / folder, NAMES[:5])
    entries = [karpathy(name, part) for name, part in zip(NAMES, parts, strict=False)]
    write_json(data / "flickr8k/dataset_flickr8k.json", entries)
    split = Flickr8k().load(None)
    assert greys(split.train) == [grey_of(NAMES[row]) for row in (0, 1, 4)]
    assert greys(split.test) == [grey_of(NAMES[3])]
    assert split.test.captions == (tuple(f"03_ab.jpg {k}" for k in range(5)),)
    assert Flickr8k(captions_per_image=1).load(None).train.captions[1] == ("01_ab.jpg 0",)
    assert Flickr8k().label() == "Flickr8k (Karpathy split)"


def test_flickr8k_of_kaggle_is_split_by_seed_wherever_it_lies(data, tmp_path):
    write_kaggle(data / "flickr8k")
    write_kaggle(tmp_path / "elsewhere")
    one, two = Flickr8k().load(None), Flickr8k(root=str(tmp_path / "elsewhere")).load(None)
    assert (len(one.train), len(one.test)) == (14, 2) and not set(greys(one.train)) & set(greys(one.test))
    assert one.train.fingerprint == two.train.fingerprint and one.test.fingerprint == two.test.fingerprint
    assert one.test.captions[0][2].endswith(" , number 2 .")
    assert greys(Flickr8k(seed=1).load(None).test) != greys(one.test)
    shutil.rmtree(data / "flickr8k")
    write_kaggle(data / "flickr8k", NAMES[::-1])
    assert greys(Flickr8k().load(None).test) == greys(one.test)[::-1]
    assert Flickr8k(train_images=3).label() == "Flickr8k (random split 0, 3 train images)"


def test_a_seeded_split_has_the_sizes_asked_for():
    pictures = [Picture(f"{number}.jpg", ("a",)) for number in range(100)]
    parts = divide(pictures, 60, 10, 0)
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [60, 30, 10]
    assert sorted(each for part in parts.values() for each in part) == sorted(pictures)


def test_lists_as_mem_publishes_them_decide_the_split(data):
    root = data / "flickr8k"
    write_kaggle(root)
    header = ("image", "caption_number", "caption", "id", "images")

    def write_list(path: Path, names) -> None:
        rows = [(n, k, "a text, quoted", 0, f"/somewhere/Images/{n}") for n in names for k in range(5)]
        write_csv(path, rows, header)

    write_list(root / "splits/test.csv", [NAMES[9], NAMES[2]])
    write_list(root / "splits/val.csv", [NAMES[4]])
    split = Flickr8k().load(None)
    assert greys(split.test) == [grey_of(NAMES[9]), grey_of(NAMES[2])]
    assert greys(split.train) == [grey_of(n) for n in NAMES if n not in (NAMES[9], NAMES[2], NAMES[4])]
    assert split.test.captions[0][0] == "09_ab.jpg , number 0 ."
    assert Flickr8k().label() == "Flickr8k (MEM split)"
    write_list(root / "splits/train.csv", [NAMES[0]])
    assert greys(Flickr8k().load(None).train) == [grey_of(NAMES[0])]
    write_list(root / "splits/val.csv", [NAMES[4], NAMES[2], "unheard.jpg"])
    with pytest.raises(
        DataError, match=r"2 of 3 images .*02_ab.jpg \(also in test.csv\), unheard.jpg \(not among"
    ):
        Flickr8k().load(None)


# Flickr30k


@pytest.mark.parametrize("inside", ["", "flickr30k_images/"])
def test_flickr30k_with_bars_and_its_broken_row(data, inside):
    root = data / "flickr30k"
    write_images(root / inside / "flickr30k_images", NAMES[:8])
    lines = [f'{name}| {k}| A "dog" , {name} {k} .' for name in NAMES[:8] for k in range(5)]
    lines[4] = "00_ab.jpg| 4   A dog runs across the grass ."
    (root / inside / "results.csv").write_text(
        "\n".join(["image_name| comment_number| comment", *lines]) + "\n"
    )
    split = Flickr30k().load(None)
    assert (len(split.train), len(split.test)) == (7, 1)
    texts = {texts[0]: texts for part in (split.train, split.test) for texts in part.captions}
    assert texts['A "dog" , 00_ab.jpg 0 .'][4] == "A dog runs across the grass ."
    assert all(len(each) == 5 for each in texts.values())


def test_flickr30k_in_karpathys_layout(data):
    write_images(data / "flickr30k/flickr30k-images", NAMES[:2])
    entries = [karpathy(NAMES[0], "train"), karpathy(NAMES[1], "test")]
    write_json(data / "flickr30k/dataset_flickr30k.json", entries)
    assert greys(Flickr30k().load(None).test) == [grey_of(NAMES[1])]


# MS-COCO


def write_coco(root: Path, images: str = "", count: int = 8, texts: int = 5) -> None:
    for part in ("train2014", "val2014"):
        names = [f"COCO_{part}_{number:012}.jpg" for number in range(count)]
        write_images(root / images / part, names)
        entries = [{"id": number, "file_name": name} for number, name in enumerate(names)]
        said = [{"image_id": n, "caption": f"{part} {n} {k} "} for k in range(texts) for n in range(count)]
        write_json(root / f"annotations/captions_{part}.json", entries, annotations=said)


@pytest.mark.parametrize("images", ["", "images"])
def test_mscoco_by_its_annotations_keeps_the_first_five_captions(data, images):
    write_coco(data / "coco", images, texts=7)
    split = Mscoco().load(None)
    assert (len(split.train), len(split.test)) == (14, 2)
    assert all(len(texts) == 5 for texts in split.train.captions)
    first = split.train.captions[0]
    assert first == tuple(f"{first[0][:-2]} {k}" for k in range(5))
    assert len(Mscoco(captions_per_image=None).load(None).test.captions[0]) == 7
    assert Mscoco().label() == "MS-COCO (random split 0)"
    write_csv(
        data / "coco/test.csv", [("b", "coco/val2014/COCO_val2014_000000000003.jpg")], ("caption", "images")
    )
    chosen = Mscoco().load(None)
    assert chosen.test.captions[0][0] == "val2014 3 0" and len(chosen.train) == 15


def test_mscoco_of_2017_is_divided_by_its_files(data):
    for part, numbers in (("train2017", (1, 2, 3)), ("val2017", (4,))):
        names = [f"{number:012}.jpg" for number in numbers]
        write_images(data / "mscoco/images" / part, names)
        entries = [{"id": number, "file_name": name} for number, name in zip(numbers, names, strict=True)]
        said = [{"image_id": number, "caption": f"{part} {number}"} for number in numbers]
        write_json(data / f"mscoco/annotations/captions_{part}.json", entries, annotations=said)
    split, state = Mscoco().load(None), Mscoco().source_state()
    assert [texts[0] for texts in split.train.captions] == ["train2017 1", "train2017 2", "train2017 3"]
    assert [texts[0] for texts in split.test.captions] == ["val2017 4"]
    assert Mscoco().label() == "MS-COCO (2017 split)"
    (data / "mscoco/images/val2017/000000000004.jpg").write_bytes(encode(np.zeros((9, 9, 3), np.uint8)))
    assert Mscoco().source_state() != state
    write_coco(data / "mscoco", "images")
    assert Mscoco().label() == "MS-COCO (random split 0)"
    assert Mscoco(layout="annotations_2017").label() == "MS-COCO (2017 split)"


def test_mscoco_in_karpathys_layout_with_fewer_than_five_captions(data):
    names = [f"COCO_val2014_{number:012}.jpg" for number in range(3)]
    write_images(data / "mscoco/val2014", names)
    parts = zip(names, ("train", "restval", "test"), strict=True)
    entries = [karpathy(name, part, 2, filepath="val2014") for name, part in parts]
    write_json(data / "mscoco/dataset_coco.json", entries)
    split = Mscoco().load(None)
    assert greys(split.train) == [10, 11] and greys(split.test) == [12] and len(split.test.pairs) == 2


def test_tiny_mscoco_is_a_sample_of_the_parts_of_mscoco(data):
    write_coco(data / "mscoco")
    with pytest.raises(ConfigError, match=r"train_images is 6,000, but the train part has 14"):
        TinyMscoco().load(None)
    whole, tiny = Mscoco().load(None), TinyMscoco(train_images=5, test_images=1).load(None)
    assert set(tiny.train.captions) < set(whole.train.captions) and len(tiny.train) == 5
    assert set(tiny.test.captions) < set(whole.test.captions)
    assert TinyMscoco().label() == "Tiny-MSCOCO (our own sample, random split 0)"


# what is wrong with published data


def test_absence_says_where_was_looked_for_what(data, monkeypatch):
    (data / "flickr8k").mkdir()
    for dataset in (Flickr8k(), Flickr30k(), Mscoco(), TinyMscoco()):
        with pytest.raises(
            DataError, match=r"looked in .*/data/.*parquet.*karpathy.*\.root=.*can be had as '"
        ):
            dataset.load(None)
        assert dataset.source_state() is None and "split" not in dataset.label()
    with pytest.raises(DataError, match=r"looked in /nowhere\. Known layouts are kaggle: captions.txt\. "):
        Flickr8k(root="/nowhere", layout="kaggle").load(None)
    monkeypatch.delenv("UE_BENCH_DATA")
    with pytest.raises(DataError, match="UE_BENCH_DATA is not set"):
        Flickr8k().load(None)


def test_the_layout_can_be_asked_for(data):
    write_kaggle(data / "flickr8k")
    entries = [karpathy(NAMES[0], "train"), karpathy(NAMES[1], "test")]
    write_json(data / "flickr8k/dataset_flickr8k.json", entries)
    assert len(Flickr8k().load(None).train) == 1 and len(Flickr8k(layout="kaggle").load(None).train) == 14
    with pytest.raises(ConfigError, match="unknown layout of flickr8k 'kagle': did you mean 'kaggle'"):
        Flickr8k(layout="kagle")
    with pytest.raises(ConfigError, match="flickr8k.train_images must be at least 1, not 0"):
        Flickr8k(train_images=0)


def test_missing_and_broken_images_are_all_named(data):
    root = data / "flickr8k"
    write_images(root / "Images", NAMES[:6])
    entries = [karpathy(name, "test" if name == NAMES[5] else "train") for name in NAMES[:6]]
    write_json(root / "dataset_flickr8k.json", entries)
    for name in NAMES[1:3]:
        (root / "Images" / name).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 of 5 images of Flickr8k \(train\) .*01_ab.jpg .*02_ab.jpg"):
        Flickr8k().load(None)
    for name in (NAMES[1], NAMES[5]):
        (root / "Images" / name).unlink()
    with pytest.raises(
        DataError, match=r"2 of 6 .*01_ab.jpg \(no such file\), 05_ab.jpg .*looked for in .*Images"
    ):
        Flickr8k().load(None)


def test_wrong_entries_of_json_are_all_named(data):
    root = data / "mscoco"
    bad = [
        karpathy("a.jpg", "trian"),
        karpathy("b.jpg", "test", 0),
        karpathy("c.jpg", "test"),
        {"split": "test"},
    ]
    write_json(root / "dataset_coco.json", [*bad, karpathy("c.jpg", "test")])
    with pytest.raises(
        DataError, match=r"a.jpg \(split 'trian'.*b.jpg \(no text\).*image 3 .*c.jpg \(listed twice"
    ):
        Mscoco().load(None)
    (root / "dataset_coco.json").write_text('{"images": [')
    with pytest.raises(DataError, match="no whole JSON file"):
        Mscoco().load(None)
    write_json(root / "dataset_coco.json", [], "pictures")
    with pytest.raises(DataError, match="no list 'images'"):
        Mscoco().load(None)
    (root / "dataset_coco.json").unlink()
    write_coco(root)
    (root / "annotations/captions_val2014.json").unlink()
    with pytest.raises(DataError, match=r"no file .*captions_val2014.json.*holds captions_train2014.json"):
        Mscoco().load(None)


def test_a_changed_image_is_decoded_anew(data):
    write_kaggle(data / "flickr8k")
    before, first = Flickr8k().source_state(), load_cached(Flickr8k(), 8)
    assert before == Flickr8k().source_state()
    forget()
    assert load_cached(Flickr8k(), 8).train.fingerprint == first.train.fingerprint
    for name in NAMES:
        (data / "flickr8k/Images" / name).write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    assert Flickr8k().source_state() != before
    assert set(greys(load_cached(Flickr8k(), 8).train)) == {0}


# real data


def test_real_flickr8k_is_the_split_of_mem(real_data, monkeypatch):
    if not (real_data / "flickr8k/train.parquet").is_file():
        pytest.skip("flickr8k/ absent from UE_BENCH_DATA")
    split = Flickr8k(train_images=64).load(16)
    assert (len(split.train), len(split.test), split.train.image_size) == (64, 1000, (16, 16))
    assert len(split.train.pairs) == 320 and len(split.test.pairs) == 5000
    assert len({text for texts in split.test.captions for text in texts}) == 4994  # as in MEM's test.csv
    assert split.test.captions[0][0] == "A child playing on a rope net ."
    assert Flickr8k().label() == "Flickr8k (160x160 WEBP copy)"
    assert len(Flickr8k().source_state()) == 2
