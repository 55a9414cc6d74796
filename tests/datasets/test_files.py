"""Datasets read from files of one's own: every layout on small fakes, every kind of damage named."""

from __future__ import annotations

import io

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fakes import NUMBERS, encode, pixels, write_folder, write_pair, write_parquet
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from ue_bench.data.decode import TooManyPixels, decode_image, resize_all
from ue_bench.datasets.digits import Digits
from ue_bench.datasets.imagefolder import ImageFolder
from ue_bench.datasets.parquet import Parquet
from ue_bench.errors import ConfigError, DataError, UnavailableError

# digits


def test_digits_are_real_stratified_and_always_split_alike():
    split, again = Digits().load(None), Digits().load(None)
    assert split.train.images.shape == (1438, 3, 32, 32) and len(split.test) == 359
    assert split.train.class_names == tuple("0123456789")
    assert split.test.fingerprint == again.test.fingerprint
    counts = torch.bincount(split.test.labels)
    assert counts.min() >= 34 and counts.max() <= 37
    assert Digits().source_state() is None


def test_digits_at_their_stored_size_are_not_resampled():
    images = Digits().load(8).train.images
    assert images.shape[2:] == (8, 8)
    assert set(images.unique().tolist()) <= {round(v * 255 / 16) for v in range(17)}


# decoding


def test_grey_palette_alpha_cmyk_and_sixteen_bits_become_rgb():
    grey = NUMBERS.integers(0, 256, (8, 8), dtype=np.uint8)
    assert (decode_image(encode(grey)) == grey).all()
    sixteen = (grey.astype(np.uint16)) * 257
    assert (decode_image(encode(sixteen)) == grey).all()
    colour = pixels()
    opaque = np.dstack([colour, np.full((8, 8), 255, np.uint8)])
    assert (decode_image(encode(opaque)) == colour.transpose(2, 0, 1)).all()
    clear = np.dstack([colour, np.zeros((8, 8), np.uint8)])
    assert (decode_image(encode(clear)) == 255).all()
    for mode, form in (("P", "PNG"), ("CMYK", "JPEG"), ("LA", "PNG"), ("1", "PNG")):
        buffer = io.BytesIO()
        Image.fromarray(colour).convert(mode).save(buffer, form)
        assert decode_image(buffer.getvalue()).shape == (3, 8, 8)


def test_postscript_is_not_handed_to_a_program(monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: started.append(given))
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "EPS")
    with pytest.raises(UnidentifiedImageError):
        decode_image(buffer.getvalue())
    assert not started


def test_an_image_that_could_fill_the_memory_is_refused_whatever_others_allow(monkeypatch):
    data = io.BytesIO()
    Image.new("1", (20000, 20000)).save(data, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(TooManyPixels, match="20000x20000 are 400,000,000 pixels, more than 178,956,970"):
        decode_image(data.getvalue(), 8)


def test_exif_orientation_is_applied():
    wide = np.zeros((8, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode_image(encode(wide, "JPEG", exif=exif)).shape == (3, 16, 8)


def test_resizing_cuts_the_central_square_and_leaves_fitting_images_alone():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    assert (decode_image(encode(wide), 8) == 200).all()
    assert decode_image(encode(pixels(9)), 4).shape == (3, 4, 4)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(resize_all(images, 8), images)
    array = pixels()
    assert (decode_image(encode(array), 8) == array.transpose(2, 0, 1)).all()
    with pytest.raises(ConfigError, match="image_size is 0"):
        resize_all(images, 0)


# parquet


def test_parquet_reads_pixels_labels_names_and_captions(tmp_path):
    names = {"info": {"features": {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}
    texts = [["one", "two"]] * 6
    arrays = write_pair(tmp_path, metadata=names, captions=texts)
    split = Parquet(path=str(tmp_path), caption_column="captions").load(None)
    assert torch.equal(split.train.images, torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))
    assert split.train.labels.tolist() == [0, 1, 2, 0, 1, 2] and split.train.labels.dtype == torch.int64
    assert split.train.class_names == ("a", "b", "c")
    assert split.train.captions == (("one", "two"),) * 6
    assert Parquet(path=str(tmp_path), class_names=("x", "y", "z")).load(4).test.class_names == (
        "x",
        "y",
        "z",
    )


def test_parquet_reads_plain_bytes_string_labels_and_single_captions(tmp_path):
    table = {"img": [encode(pixels())] * 2, "kind": ["dog", "cat"], "text": ["a dog", "a cat"]}
    for part in ("train", "test"):
        pq.write_table(pa.table(table), tmp_path / f"{part}.parquet")
    columns = {"image_column": "img", "label_column": "kind", "caption_column": "text"}
    source = Parquet(path=str(tmp_path), class_names=("cat", "dog"), **columns)
    split = source.load(None)
    assert split.train.labels.tolist() == [1, 0] and split.train.captions == (("a dog",), ("a cat",))
    with pytest.raises(DataError, match="class_names="):
        Parquet(path=str(tmp_path), **columns).load(None)
    with pytest.raises(DataError, match=r"1 of 2 labels .*row 1 of train.parquet \('cat'\)"):
        Parquet(path=str(tmp_path), class_names=("dog",), **columns).load(None)


def test_parquet_reads_patterns_full_addresses_and_remote_file_systems(tmp_path):
    first = [encode(pixels()) for _ in range(2)]
    for index in range(2):
        write_parquet(tmp_path / f"data/train-{index}.parquet", [first[index]] * 3)
    test = write_parquet(tmp_path / "elsewhere.parquet", first * 2)
    split = Parquet(path=str(tmp_path), train="data/train-*.parquet", test=str(test)).load(None)
    assert len(split.train) == 6
    assert (split.train.images[5].numpy() == decode_image(first[1])).all()
    memory = fsspec.filesystem("memory")
    memory.pipe("/hub/train.parquet", test.read_bytes())
    remote = Parquet(path="memory://hub", test="train.parquet")
    assert len(remote.load(None).test) == 4
    before = remote.source_state()
    assert before == remote.source_state() and before is not None


def test_parquet_names_missing_columns_files_and_paths(tmp_path):
    write_pair(tmp_path)
    with pytest.raises(
        DataError, match=r"no column 'lable'.*did you mean 'label'.*image, label.*label_column="
    ):
        Parquet(path=str(tmp_path), label_column="lable").load(None)
    with pytest.raises(DataError, match="image_column="):
        Parquet(path=str(tmp_path), image_column="label").load(None)
    with pytest.raises(DataError, match=r"did you mean 'train.parquet'"):
        Parquet(path=str(tmp_path), train="trian.parquet").load(None)
    with pytest.raises(DataError, match="does not exist"):
        Parquet(path=str(tmp_path / "nowhere")).load(None)
    with pytest.raises((ConfigError, UnavailableError), match=r"set \w+\.path="):
        Parquet().load(None)
    with pytest.raises(ConfigError, match="label_column="):
        Parquet(path=str(tmp_path), label_column="").load(None)
    with pytest.raises(DataError, match="unheard"):
        Parquet(path="unheard://of").load(None)


def test_parquet_names_every_bad_row_and_skips_none(tmp_path):
    good = encode(pixels())
    bad = [good] * 20
    bad[3], bad[5], bad[7] = b"this is no image", good[: len(good) // 2], None
    write_pair(tmp_path)
    write_parquet(tmp_path / "train.parquet", bad)
    with pytest.raises(DataError, match=r"3 of 20 images .*row 3 .*row 5 .*row 7 .*no bytes") as caught:
        Parquet(path=str(tmp_path)).load(None)
    assert "BytesIO" not in str(caught.value)
    write_parquet(tmp_path / "train.parquet", [b"x"] * 15 + [good])
    with pytest.raises(DataError, match=r"15 of 16 .*row 9 .* and 5 more"):
        Parquet(path=str(tmp_path)).load(None)
    write_parquet(tmp_path / "train.parquet", [good] * 3, labels=[0, -1, None])
    with pytest.raises(DataError, match=r"2 of 3 labels .*row 1 .*-1.*row 2 .*no label"):
        Parquet(path=str(tmp_path)).load(None)
    write_parquet(tmp_path / "train.parquet", [good] * 3, captions=[["a"], [], ["b", " "]])
    with pytest.raises(DataError, match=r"2 of 3 captions .*row 1 .*row 2"):
        Parquet(path=str(tmp_path), caption_column="captions").load(None)


def test_parquet_notices_damage_sizes_and_unseen_classes(tmp_path):
    write_pair(tmp_path)
    write_parquet(tmp_path / "test.parquet", [encode(pixels())], labels=[9])
    with pytest.raises(DataError, match="test labels run to 9"):
        Parquet(path=str(tmp_path)).load(None)
    write_parquet(tmp_path / "test.parquet", [encode(pixels(8)), encode(pixels(12))])
    with pytest.raises(DataError, match=r"8x8 .*12x12 .*image_size="):
        Parquet(path=str(tmp_path)).load(None)
    whole = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train.parquet.*damaged"):
        Parquet(path=str(tmp_path)).load(None)


# imagefolder


def test_imagefolder_sorts_classes_and_files(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train/.DS_Store").write_text("")
    (tmp_path / "train/cat/Thumbs.db").write_text("")
    (tmp_path / "train/cat/deep").mkdir()
    (tmp_path / "train/cat/deep/a[1].PNG").write_bytes(encode(np.full((8, 8, 3), 7, np.uint8)))
    split = ImageFolder(path=str(tmp_path)).load(None)
    assert split.train.class_names == ("ant", "cat") and split.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert (split.train.images[4] == 7).all()
    state = ImageFolder(path=str(tmp_path)).source_state()
    (tmp_path / "train/cat/0.png").write_bytes(encode(pixels(16)))
    assert ImageFolder(path=str(tmp_path)).source_state() != state
    with pytest.raises(DataError, match="image_size="):
        ImageFolder(path=str(tmp_path)).load(None)
    assert ImageFolder(path=str(tmp_path)).load(8).train.image_size == (8, 8)


def test_imagefolder_follows_links(tmp_path):
    write_folder(tmp_path / "stored")
    for part in ("train", "test"):
        (tmp_path / "linked" / part / "bee").mkdir(parents=True)
        (tmp_path / "linked" / part / "ant").symlink_to(tmp_path / "stored" / part / "ant")
        (tmp_path / "linked" / part / "bee" / "0.png").symlink_to(tmp_path / "stored/train/cat/0.png")
    split = ImageFolder(path=str(tmp_path / "linked")).load(None)
    assert split.train.labels.tolist() == [0, 0, 1] and split.train.class_names == ("ant", "bee")
    state = ImageFolder(path=str(tmp_path / "linked")).source_state()
    (tmp_path / "stored/train/cat/0.png").write_bytes(encode(pixels(9)))
    assert ImageFolder(path=str(tmp_path / "linked")).source_state() != state
    (tmp_path / "linked/train/bee/loop").symlink_to(tmp_path / "linked")
    assert len(ImageFolder(path=str(tmp_path / "linked")).load(8).train) == 3


def test_imagefolder_reads_remote_file_systems(tmp_path):
    write_folder(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/pictures", recursive=True)
    assert len(ImageFolder(path="memory://pictures").load(None).train) == 4


def test_imagefolder_names_foreign_files_and_how_to_ignore_them(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train/cat/notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"cat/notes.txt.*ignore=\[\"\*.txt\"\]"):
        ImageFolder(path=str(tmp_path)).load(None)
    assert len(ImageFolder(path=str(tmp_path), ignore=("*.txt",)).load(None).train) == 4


def test_imagefolder_lists_corrupt_images(tmp_path):
    write_folder(tmp_path)
    whole = (tmp_path / "test/ant/1.png").read_bytes()
    (tmp_path / "test/ant/1.png").write_bytes(whole[:50])
    (tmp_path / "test/cat/0.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 4 images .*ant/1.png .*cat/0.png"):
        ImageFolder(path=str(tmp_path)).load(None)


def test_imagefolder_explains_the_layout(tmp_path):
    (tmp_path / "flat/ant").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds ant. Needed are PATH/train/CLASS"):
        ImageFolder(path=str(tmp_path / "flat")).load(None)
    with pytest.raises(DataError, match="does not exist"):
        ImageFolder(path=str(tmp_path / "nowhere")).load(None)
    with pytest.raises((ConfigError, UnavailableError), match=r"set \w+\.path="):
        ImageFolder().load(None)
    (tmp_path / "empty/train").mkdir(parents=True)
    (tmp_path / "empty/test").mkdir()
    with pytest.raises(DataError, match="train is empty"):
        ImageFolder(path=str(tmp_path / "empty")).load(None)
    write_folder(tmp_path / "loose")
    (tmp_path / "loose/train/0.png").write_bytes(encode(pixels()))
    with pytest.raises(DataError, match=r"outside of a class's folder: 0.png"):
        ImageFolder(path=str(tmp_path / "loose")).load(None)
    write_folder(tmp_path / "hollow")
    (tmp_path / "hollow/train/bee").mkdir()
    with pytest.raises(DataError, match="without images: bee"):
        ImageFolder(path=str(tmp_path / "hollow")).load(None)
    (tmp_path / "hollow/train/bee/0.png").write_bytes(encode(pixels()))
    with pytest.raises(DataError, match="no folder for the class bee"):
        ImageFolder(path=str(tmp_path / "hollow")).load(None)
