"""Captions of one's own, and the size of what is decoded."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from caption_fakes import NAMES, grey_of, greys, karpathy, write_csv, write_images, write_json, write_kaggle
from fakes import encode, pixels, write_folder
from PIL import Image

from ue_bench.data import cache, room
from ue_bench.data.cache import load_cached
from ue_bench.data.decode import fit_square
from ue_bench.data.pictures import leads_outside
from ue_bench.datasets.captions import Captions
from ue_bench.datasets.flickr8k import Flickr8k
from ue_bench.datasets.imagefolder import ImageFolder
from ue_bench.errors import ConfigError, DataError, UnavailableError

# captions of one's own


def test_captions_of_a_csv_with_splits(tmp_path):
    write_images(tmp_path / "pictures", NAMES[:4])
    rows = [(f"pictures/{n}", f"{n}, a picture", "restval") for n in NAMES[:2]]
    rows += [(f"./pictures/{NAMES[0]}", "ein Bär", "train"), (f"pictures/{NAMES[2]}", "x", "test")]
    rows += [(f"pictures/{NAMES[0]}", " zwei ", "restval"), (f"pictures/{NAMES[3]}", "y", "val")]
    rows = [row for row in rows if not row[0].startswith("./")]
    write_csv(tmp_path / "mine.csv", rows, ("image", "caption", "split"))
    split = Captions(path=str(tmp_path / "mine.csv")).load(None)
    assert split.train.captions == (("00_ab.jpg, a picture", "zwei"), ("01_ab.jpg, a picture",))
    assert greys(split.test) == [grey_of(NAMES[2])] and split.train.labels is None
    assert greys(Captions(path=str(tmp_path / "mine.csv"), test="val").load(None).test) == [grey_of(NAMES[3])]
    columns = {"image_column": "file", "caption_column": "words", "images": str(tmp_path / "pictures")}
    write_csv(tmp_path / "b/other.csv", [(n, "w", "train") for n in NAMES[:3]], ("file", "words", "fold"))
    split = Captions(path=str(tmp_path / "b/other.csv"), test_share=0.34, **columns).load(None)
    assert (len(split.train), len(split.test)) == (2, 1)
    with pytest.raises(DataError, match="no column 'folds'"):
        Captions(path=str(tmp_path / "b/other.csv"), split_column="folds", **columns).load(None)


def test_captions_at_an_address_and_in_json(tmp_path):
    memory = fsspec.filesystem("memory")
    for name in NAMES[:5]:
        memory.pipe(f"/own/{name}", encode(np.full((8, 8, 3), grey_of(name), np.uint8)))
    text = "image\tcaption\r\n" + "".join(f"{name}\tsaid, of {name}\r\n" for name in NAMES[:5])
    memory.pipe("/own/list.tsv", ("\ufeff" + text).encode())
    remote = Captions(path="memory://own/list.tsv")
    split = remote.load(None)
    assert (len(split.train), len(split.test)) == (4, 1) and split.train.captions[0][0].startswith("said, of")
    assert remote.source_state() == remote.source_state() is not None
    entries = [karpathy(NAMES[0], "train"), karpathy(NAMES[1], "test"), karpathy(NAMES[2], "val")]
    write_json(tmp_path / "own.json", entries)
    split = Captions(path=str(tmp_path / "own.json"), images="memory://own", captions_per_image=2).load(None)
    assert greys(split.test) == [grey_of(NAMES[1])] and len(split.train.pairs) == 2


@pytest.mark.parametrize("place", ["absolute", "above", "address"])
def test_a_file_of_captions_reads_nothing_outside_its_folder_unless_allowed_by_name(tmp_path, place):
    write_images(tmp_path / "own", NAMES[:2])
    write_images(tmp_path / "private", NAMES[2:3])
    fsspec.filesystem("memory").pipe(f"/private/{NAMES[2]}", (tmp_path / "private" / NAMES[2]).read_bytes())
    elsewhere = {
        "absolute": f"{tmp_path}/private",
        "above": "own/../../private",
        "address": "memory://private",
    }
    name = f"{elsewhere[place]}/{NAMES[2]}"
    rows = [(NAMES[0], "a cat", "train"), (NAMES[1], "a dog", "test"), (name, "a secret", "train")]
    write_csv(tmp_path / "own" / "list.csv", rows, ("image", "caption", "split"))
    own = Captions(path=str(tmp_path / "own" / "list.csv"))
    with pytest.raises(DataError) as caught:
        own.load(None)
    assert f"{name} (it lies outside the folder of the images)" in str(caught.value)
    assert "captions.outside=true" in str(caught.value)
    assert not any("private" in path for path, *_ in own.source_state())
    allowed = dataclasses.replace(own, outside=True)
    assert greys(allowed.load(None).train) == [grey_of(NAMES[0]), grey_of(NAMES[2])]


def test_no_server_that_a_file_of_captions_names_is_called(tmp_path, monkeypatch):
    write_images(tmp_path, NAMES[:2])
    rows = [
        (NAMES[0], "a cat", "train"),
        (NAMES[1], "a dog", "test"),
        ("ftp://198.51.100.1/x.png", "x", "train"),
    ]
    write_csv(tmp_path / "list.csv", rows, ("image", "caption", "split"))
    called = []
    monkeypatch.setattr(fsspec.get_filesystem_class("ftp"), "_connect", lambda self: called.append(self.host))
    with pytest.raises(DataError, match=r"ftp://198\.51\.100\.1/x\.png \(it lies outside"):
        Captions(path=str(tmp_path / "list.csv")).load(None)
    assert not called


@pytest.mark.parametrize("name", ["/a.png", "~/a.png", "../a.png", "a/../../b.png", "s3://b/a.png", "c:/a.png",
                                  "simplecache::ftp:h/a.png", "..\\a.png", "file:/a.png", "./../a.png"])  # fmt: skip
def test_names_that_lead_outside(name):
    assert leads_outside(name) and not leads_outside("a/" + name.strip("./~:\\").replace(":", ""))


def test_every_bad_row_of_a_csv_is_named_at_once(tmp_path):
    write_images(tmp_path, NAMES[:3])
    good = [f"{NAMES[0]},a cat,train", f"{NAMES[1]},a dog,test"]
    bad = [
        f"{NAMES[0]},,train",
        ",a bird,train",
        f"{NAMES[0]},a cat,train",
        f"{NAMES[1]},again,train",
        f"{NAMES[2]},a cow,trian",
        "gone.jpg,a ghost,test",
        f"{NAMES[2]},a cow, and a calf,train",
    ]
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(["image,caption,split", *good, *bad]) + "\n")
    with pytest.raises(DataError) as caught:
        Captions(path=str(path)).load(None)
    for fault in (
        "7 of ",
        "line 4 (no text)",
        "line 5 (no image)",
        "line 6 (the same as line 2)",
        "line 7 (01_ab.jpg is in 'test' by line 3)",
        "line 8 (split 'trian'; allowed are train, restval",
        "line 10 (4 fields; put captions in quotation marks)",
        "gone.jpg (no such file)",
        f"looked for in {tmp_path}, or set images=",
    ):
        assert fault in str(caught.value)


def test_files_that_are_no_csv_of_captions(tmp_path):
    path = tmp_path / "own.csv"

    def refuse(content: bytes, match: str) -> None:
        path.write_bytes(content)
        with pytest.raises(DataError, match=match):
            Captions(path=str(path)).load(None)

    refuse(b"image,text\na.jpg,b\n", r"no column of captions \(caption\).*first line reads 'image, text'")
    refuse(b"imgae,caption\na.jpg,b\n", "no column of images .*did you mean 'imgae'")
    refuse("image,caption\na,b\nc,é\nd,ü\n".encode("latin-1"), "not UTF-8 in line 3, 4:.*Save it as UTF-8")
    refuse(b"image,caption\n", "has no rows")
    refuse(b"", "no column of images")
    refuse(
        b'image,caption\na.jpg,"open\n' + b"b.jpg,c\n" * 30, r"line 2 \(a quotation mark that is never closed"
    )
    refuse(b"image,caption,split\n" + f"{NAMES[0]},a,train\n".encode(), "has no image for test .*train 1")
    (tmp_path / NAMES[0]).write_bytes(b"no image")
    (tmp_path / NAMES[1]).write_bytes(encode(pixels()))
    rows = f"{NAMES[0]},a,train\n{NAMES[1]},b,test\n"
    refuse(f"image,caption,split\n{rows}".encode(), r"1 of 1 images of own.csv \(train\) .*00_ab.jpg")
    for wrong in ({}, {"path": "x", "test": "train"}, {"path": "x", "test_share": 1.0}, {"test_images": 0}):
        with pytest.raises((ConfigError, UnavailableError), match="captions"):
            Captions(**wrong).load(None)


def test_imagefolder_makes_captions_of_class_names(tmp_path):
    write_folder(tmp_path, ("Ada_Byron", "bob"), 1)
    split = ImageFolder(path=str(tmp_path), captions="a photo of {}.").load(None)
    assert split.train.captions == (("a photo of Ada Byron.",), ("a photo of bob.",))
    assert split.train.labels.tolist() == [0, 1] and split.train.class_names == ("Ada_Byron", "bob")
    assert ImageFolder(path=str(tmp_path)).load(None).train.captions is None
    with pytest.raises(ConfigError, match="must hold {} once"):
        ImageFolder(captions="a photo")


# size


def test_images_become_square_as_clip_models_are_trained():
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    square = Compose([Resize(13, InterpolationMode.BICUBIC), CenterCrop(13)])
    for width, height in ((31, 20), (20, 31), (50, 37), (17, 40), (8, 29), (13, 14), (64, 64)):
        image = Image.fromarray(pixels(64)).resize((width, height))
        assert (np.asarray(fit_square(image, 13)) == np.asarray(square(image))).all()


def mapped_file(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is mapped to; "" if it is none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return line.split()[-1] if "/" in line else ""
    return ""


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="this system does not list its mappings")
def test_more_images_than_memory_are_mapped_to_files(data, monkeypatch):
    write_kaggle(data / "flickr8k")
    expected = load_cached(Flickr8k(), 8)
    for module in (room, cache):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    raw = Flickr8k().load(8).train.images
    assert raw.untyped_storage().filename and torch.equal(raw, expected.train.images)
    again = load_cached(dataclasses.replace(Flickr8k(), captions_per_image=4), 8)
    assert mapped_file(again.train.images).endswith(".safetensors")
    assert torch.equal(again.train.images, expected.train.images)
    assert not [each for each in (data.parent / "cache/decoded").iterdir() if each.suffix != ".safetensors"]


def test_no_room_for_the_images_says_how_much_is_needed(data, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fill)
    with pytest.raises(
        DataError, match=r"113,287 images of 224x224 pixels take 15.9 GiB.*No space.*UE_BENCH_CACHE"
    ):
        room.allocate(113_287, 224, 224)
