"""Datasets: every layout on small fakes, every kind of damage named, the real files where present."""

from __future__ import annotations

import io
import json
import pickle
import socket
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ue_bench.data.decode import decode_image, resize_all
from ue_bench.data.sources.cifar10 import Cifar10
from ue_bench.data.sources.cifar10_5k import Cifar10Tenth
from ue_bench.data.sources.cifar100 import Cifar100
from ue_bench.data.sources.digits import Digits
from ue_bench.data.sources.imagefolder import ImageFolder
from ue_bench.data.sources.parquet import Parquet
from ue_bench.data.sources.stl10 import Stl10
from ue_bench.errors import ConfigError, DataError

NUMBERS = np.random.default_rng(0)


def pixels(side: int = 8) -> np.ndarray:
    return NUMBERS.integers(0, 256, (side, side, 3), dtype=np.uint8)


def encode(array: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def as_images(payloads: list[bytes | None]) -> pa.Array:
    rows = [None if data is None else {"bytes": data, "path": f"{i}.png"} for i, data in enumerate(payloads)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def write_parquet(path: Path, payloads, labels=None, metadata=None, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [i % 3 for i in range(len(payloads))] if labels is None else labels
    table = pa.table({"image": as_images(payloads), "label": labels, **columns})
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path)
    return path


def write_pair(folder: Path, count: int = 6, **options) -> list[np.ndarray]:
    """train.parquet and test.parquet; returns the training pixels."""
    arrays = [pixels() for _ in range(count)]
    write_parquet(folder / "train.parquet", [encode(a) for a in arrays], **options)
    write_parquet(folder / "test.parquet", [encode(pixels()) for _ in range(count)], **options)
    return arrays


def write_folder(root: Path, classes=("cat", "ant"), count: int = 2, side: int = 8) -> None:
    for part in ("train", "test"):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                (root / part / name / f"{index}.png").write_bytes(encode(pixels(side)))


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """An empty UE_BENCH_DATA, an empty cache, and no network."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("UE_BENCH_DATA", str(root))
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "cache"))

    def refuse(*_, **__):
        raise OSError("network unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return root


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
    with pytest.raises(ConfigError, match="set path="):
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
    with pytest.raises(ConfigError, match="set path="):
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


# CIFAR-10, CIFAR-100, STL-10


@pytest.fixture
def any_sum(monkeypatch):
    """torchvision takes any file for the published one, so that fakes can stand for it."""

    def exists(path, md5=None):
        return Path(path).is_file()

    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", exists)
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", exists)


def write_cifar(
    folder: Path, files: list[str], key: str, meta: str, meta_key: str, classes: int
) -> np.ndarray:
    """torchvision's layout with two images a file; returns the last file's rows, uint8 [2, 3072]."""
    folder.mkdir(parents=True)
    for name in files:
        rows = NUMBERS.integers(0, 256, (2, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": rows, key: [0, classes - 1]}))
    (folder / meta).write_bytes(pickle.dumps({meta_key: [f"c{i}" for i in range(classes)]}))
    return rows


def write_cifar10(root: Path) -> np.ndarray:
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return write_cifar(root / "cifar-10-batches-py", files, "labels", "batches.meta", "label_names", 10)


def write_cifar100(root: Path) -> np.ndarray:
    folder = root / "cifar-100-python"
    return write_cifar(folder, ["train", "test"], "fine_labels", "meta", "fine_label_names", 100)


@pytest.mark.parametrize("inside", ["", "cifar10"])
def test_cifar10_in_torchvisions_layout(data, any_sum, inside):
    rows = write_cifar10(data / inside)
    split = Cifar10().load(None)
    assert split.train.images.shape == (10, 3, 32, 32)
    assert torch.equal(split.test.images, torch.from_numpy(rows).reshape(2, 3, 32, 32))
    assert split.test.labels.tolist() == [0, 9] and split.test.class_names[9] == "truck"
    assert Cifar10().label() == "CIFAR-10"
    assert len(Cifar10().source_state()) == 7
    assert Cifar10().load(16).test.image_size == (16, 16)


def test_cifar100_in_both_layouts(data, any_sum):
    rows = write_cifar100(data)
    split = Cifar100().load(None)
    assert torch.equal(split.test.images, torch.from_numpy(rows).reshape(2, 3, 32, 32))
    names = split.train.class_names
    assert (
        len(set(names)) == 100 and names[0] == "apple" and names[99] == "worm" and split.train.classes == 100
    )
    hub = pa.table({"img": as_images([encode(pixels())] * 2), "coarse_label": [1, 2], "fine_label": [3, 99]})
    (data / "cifar100").mkdir()
    for part in ("train", "test"):
        pq.write_table(hub, data / f"cifar100/{part}.parquet")
    assert Cifar100().load(None).train.labels.tolist() == [3, 99]


def test_stl10_in_torchvisions_layout_without_its_unlabelled_images(data, any_sum):
    folder = data / "stl10" / "stl10_binary"
    folder.mkdir(parents=True)
    stored = NUMBERS.integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(stored.tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes([1, 10]))
    split = Stl10().load(None)
    assert torch.equal(
        split.train.images, torch.from_numpy(stored).transpose(2, 3)
    )  # stored column by column
    assert split.train.labels.tolist() == [0, 9] and split.train.class_names[2] == "car"


def test_files_that_differ_from_the_published_ones_are_refused(data):
    write_cifar10(data)
    with pytest.raises(DataError, match=r"cifar-10-batches-py is incomplete or damaged.*MD5"):
        Cifar10().load(None)


def test_cifar10_says_that_its_images_went_through_jpeg(data):
    for quality, label in ((75, "CIFAR-10 (JPEG-75 copy)"), (90, "CIFAR-10 (JPEG-90 copy)")):
        for part in ("train", "test"):
            payloads = [encode(pixels(32), "JPEG", quality=quality)]
            write_parquet(data / f"cifar10/{part}.parquet", payloads)
        assert Cifar10().label() == label
    write_pair(data / "cifar10")
    assert Cifar10().label() == "CIFAR-10"


def test_half_a_parquet_copy_is_named(data):
    write_pair(data / "cifar10")
    (data / "cifar10/test.parquet").unlink()
    with pytest.raises(DataError, match=r"test.parquet.*holds train.parquet"):
        Cifar10().load(None)


@pytest.mark.parametrize("dataset", [Cifar10(), Cifar100(), Stl10()])
def test_offline_and_absent_names_both_ways_out(data, dataset):
    with pytest.raises(
        DataError, match=rf"UE_BENCH_DATA.*{dataset.folder}/train.parquet.*{dataset.native}.*online"
    ):
        dataset.load(None)
    assert dataset.source_state() is None
    assert not list((data.parent / "cache/downloads").iterdir())
    assert socket.getdefaulttimeout() is None


def test_a_silent_server_does_not_hang(data, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/cifar-10-python.tar.gz"
        monkeypatch.undo()
        monkeypatch.setenv("UE_BENCH_DATA", str(data))
        monkeypatch.setenv("UE_BENCH_CACHE", str(data.parent / "cache"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr("torchvision.datasets.CIFAR10.url", url)
        monkeypatch.setattr("ue_bench.data.published._SILENCE_SECONDS", 0.2)
        with pytest.raises(DataError, match=r"downloading it failed .*time"):
            Cifar10().load(None)


def test_a_download_is_moved_into_the_cache_whole(data, any_sum, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", lambda self: write_cifar10(Path(self.root)))
    assert len(Cifar10().load(None).train) == 10
    downloads = data.parent / "cache/downloads"
    assert [path.name for path in downloads.iterdir()] == ["cifar-10-batches-py"]
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", None)
    assert len(Cifar10().load(None).train) == 10 and Cifar10().source_state()


def test_cifar10_5k_absent_says_what_the_folder_must_hold(data, monkeypatch):
    with pytest.raises(DataError, match=r"set UE_BENCH_DATA .*cifar10-5k/train.parquet"):
        Cifar10Tenth().load(None)
    monkeypatch.setenv("UE_BENCH_DATA", str(data / "nowhere"))
    with pytest.raises(DataError, match=r"UE_BENCH_DATA is .*no folder"):
        Cifar10Tenth().load(None)


# real data


def test_real_cifar10_5k(real_data):
    split = Cifar10Tenth().load(None)
    assert (len(split.train), len(split.test), split.train.image_size) == (5085, 1017, (32, 32))
    assert Cifar10Tenth().label() == "CIFAR-10 5k"
    assert torch.bincount(split.train.labels).min() > 450
    assert 110 < split.train.images.float().mean() < 130


def test_real_cifar10_is_labelled_by_what_it_is(real_data):
    if not (real_data / "cifar10/train.parquet").is_file():
        pytest.skip("cifar10/ absent from UE_BENCH_DATA")
    assert Cifar10().label() == "CIFAR-10 (JPEG-75 copy)"
    assert len(Cifar10().source_state()) == 2


def test_real_flickr8k_captions_through_the_same_reader(real_data):
    if not (real_data / "flickr8k/test.parquet").is_file():
        pytest.skip("flickr8k/ absent from UE_BENCH_DATA")
    names = {"train": "validation.parquet", "label_column": "", "caption_column": "captions"}
    split = Parquet(path=str(real_data / "flickr8k"), **names).load(32)
    assert len(split.test) == 1000 and len(split.test.pairs) == 5000 and split.test.labels is None
