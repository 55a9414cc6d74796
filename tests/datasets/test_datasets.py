"""Datasets that the field knows: their layouts on small fakes, their absence, the real files where present."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fakes import NUMBERS, as_images, encode, pixels, write_pair, write_parquet

from ue_bench.datasets.cifar10 import Cifar10
from ue_bench.datasets.cifar100 import Cifar100
from ue_bench.datasets.parquet import Parquet
from ue_bench.datasets.stl10 import Stl10
from ue_bench.errors import ConfigError, DataError


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
        monkeypatch.setattr("ue_bench.datasets._torchvision._SILENCE_SECONDS", 0.2)
        with pytest.raises(DataError, match=r"downloading it failed .*time"):
            Cifar10().load(None)


def test_a_download_is_moved_into_the_cache_whole(data, any_sum, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", lambda self: write_cifar10(Path(self.root)))
    assert len(Cifar10().load(None).train) == 10
    downloads = data.parent / "cache/downloads"
    assert [path.name for path in downloads.iterdir()] == ["cifar-10-batches-py"]
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", None)
    assert len(Cifar10().load(None).train) == 10 and Cifar10().source_state()


def test_a_part_is_stratified_nested_and_told(data):
    """60 images of three classes, 30 of them of class 0: a part of 20 holds 10, 5 and 5."""
    labels = [0] * 30 + [1] * 15 + [2] * 15
    for part in ("train", "test"):
        payloads = [encode(pixels()) for _ in labels]
        write_parquet(data / f"cifar10/{part}.parquet", payloads, labels=labels)
    some, more, whole = (Cifar10(train_images=n).load(None).train for n in (20, 40, None))
    assert torch.bincount(some.labels).tolist() == [10, 5, 5] and len(more) == 40
    parts = [{image.numpy().tobytes() for image in part.images} for part in (some, more, whole)]
    assert parts[0] < parts[1] < parts[2]
    assert some.labels.tolist() == sorted(some.labels.tolist())  # in the order of the whole
    other = Cifar10(train_images=20, seed=1).load(None)
    assert other.train.fingerprint != some.fingerprint and len(other.test) == 60
    assert Cifar10(train_images=20, test_images=6).label() == "CIFAR-10 (20 train images, 6 test images)"
    with pytest.raises(ConfigError, match=r"cifar10.train_images is 61, but the train part has 60 images"):
        Cifar10(train_images=61).load(None)


def test_the_whole_dataset_keeps_the_parameters_that_its_trials_ids_rest_on():
    assert Cifar10().parameters() == Cifar10(seed=3).parameters() == {}
    assert Cifar10(test_images=9).parameters() == {"train_images": None, "test_images": 9, "seed": 0}


def test_a_data_folder_that_is_none_is_named(data, monkeypatch):
    monkeypatch.setenv("UE_BENCH_DATA", str(data / "nowhere"))
    with pytest.raises(DataError, match=r"UE_BENCH_DATA is .*not a folder"):
        Cifar10().load(None)


# real data


def test_real_cifar10_is_labelled_by_what_it_is(real_data):
    if not (real_data / "cifar10/train.parquet").is_file():
        pytest.skip("cifar10/ absent from UE_BENCH_DATA")
    assert Cifar10().label() == "CIFAR-10 (JPEG-75 copy)"
    assert Cifar10(train_images=5000).label() == "CIFAR-10 (JPEG-75 copy, 5,000 train images)"
    assert len(Cifar10().source_state()) == 2


def test_real_flickr8k_captions_through_the_same_reader(real_data):
    if not (real_data / "flickr8k/test.parquet").is_file():
        pytest.skip("flickr8k/ absent from UE_BENCH_DATA")
    names = {"train": "validation.parquet", "label_column": "", "caption_column": "captions"}
    split = Parquet(path=str(real_data / "flickr8k"), **names).load(32)
    assert len(split.test) == 1000 and len(split.test.pairs) == 5000 and split.test.labels is None
