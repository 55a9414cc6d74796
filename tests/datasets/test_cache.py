"""The cache of decoded images: kept, keyed by all that matters, redone when damaged, never in the way."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ue_bench import Dataset, ImageSet, Split
from ue_bench.data import cache
from ue_bench.data.cache import forget, load_cached
from ue_bench.errors import DataError

LOADS: list[int | None] = []


@dataclass(frozen=True)
class Counted(Dataset):
    """Grey images that count how often they are decoded."""

    level: int = 100  # of grey, 0..255
    state: str | None = "fresh"  # what the source says of itself

    @property
    def name(self) -> str:
        return "counted"

    def load(self, image_size: int | None) -> Split:
        LOADS.append(image_size)
        size = image_size or 4
        images = torch.full((3, 3, size, size), self.level, dtype=torch.uint8)
        captions = (("ein Hund", 'ä "quoted" dog'), ("2",), ("3",))
        train = ImageSet(images, torch.tensor([0, 1, 0]), captions, ("a", "b"))
        return Split(train, ImageSet(images[:2]))  # shares memory with train

    def source_state(self) -> object:
        return self.state


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    forget()
    LOADS.clear()
    yield tmp_path / "cache" / "decoded"
    forget()


def load_anew(dataset: Dataset, image_size: int | None = None) -> Split:
    """As a new process would."""
    forget()
    return load_cached(dataset, image_size)


def test_decoded_once_a_process_and_once_a_disk(folder):
    first = load_cached(Counted(), None)
    assert load_cached(Counted(), None) is first
    again = load_anew(Counted())
    assert len(LOADS) == 1
    assert again.train.fingerprint == first.train.fingerprint
    assert again.test.fingerprint == first.test.fingerprint
    assert again.train.captions == first.train.captions and again.train.class_names == ("a", "b")
    assert again.test.labels is None and again.test.captions is None and again.test.class_names is None
    assert again.train.images.dtype == torch.uint8 and again.train.labels.dtype == torch.int64
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_anything_that_matters_decodes_anew(monkeypatch):
    for dataset, size in (
        (Counted(), None),
        (Counted(level=7), None),
        (Counted(state="b"), None),
        (Counted(), 8),
    ):
        load_anew(dataset, size)
    assert len(LOADS) == 4
    monkeypatch.setattr(Counted, "version", 2)
    assert len(load_anew(Counted(level=7)).train) == 3
    assert len(LOADS) == 5


def test_no_source_state_means_no_file(folder):
    load_anew(Counted(state=None))
    load_anew(Counted(state=None))
    assert len(LOADS) == 2 and not folder.exists()


def test_a_source_that_changes_while_it_is_read_is_not_kept(folder, monkeypatch):
    states = iter("abcd")
    monkeypatch.setattr(Counted, "source_state", lambda self: next(states))
    load_anew(Counted())
    assert not folder.exists()


def test_a_source_that_appears_while_it_is_read_is_kept(folder, monkeypatch):
    states = iter([None, "downloaded", "downloaded"])
    monkeypatch.setattr(Counted, "source_state", lambda self: next(states))
    load_anew(Counted())
    load_anew(Counted())
    assert len(LOADS) == 1 and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "pixel", "empty", "header", "garbage"])
def test_a_damaged_file_is_noticed_and_replaced(folder, damage):
    expected = load_anew(Counted()).train.fingerprint
    (path,) = folder.iterdir()
    whole = bytearray(path.read_bytes())
    if damage == "cut":
        whole = whole[:-10]
    elif damage == "pixel":
        whole[-1] ^= 1
    elif damage == "empty":
        whole = bytearray()
    elif damage == "header":
        whole[0:8] = b"\xff" * 8
    else:
        whole = bytearray(b"garbage" * 100)
    path.write_bytes(bytes(whole))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert load_anew(Counted()).train.fingerprint == expected
    assert len(LOADS) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_anew(Counted()).train.fingerprint == expected
    assert len(LOADS) == 2


def test_an_unwritable_folder_warns_once_and_stops_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="UE_BENCH_CACHE") as caught:
        assert len(load_anew(Counted()).train) == 3
        assert len(load_anew(Counted(level=3)).train) == 3
    assert len(caught) == 1


def test_a_full_disk_leaves_no_half_file(folder, monkeypatch):
    def fill(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(cache, "save_file", fill)
    with pytest.warns(RuntimeWarning, match="No space left"):
        load_anew(Counted())
    assert not list(folder.iterdir())


def test_errors_of_the_source_pass_through(monkeypatch):
    def fail(self, image_size):
        raise DataError("row 3 is corrupt")

    monkeypatch.setattr(Counted, "load", fail)
    with pytest.raises(DataError, match="row 3"):
        load_anew(Counted())


def test_memory_is_bounded_and_the_newest_stays(monkeypatch):
    monkeypatch.setattr(cache, "_KEPT_BYTES", 500)
    load_cached(Counted(state=None), 8)
    newest = load_cached(Counted(state=None), 16)
    assert load_cached(Counted(state=None), 16) is newest
    assert len(cache._memory) == 1


def _write_often(split: Split) -> None:
    for _ in range(20):
        cache._write(cache._path("counted", "key"), split)


def test_two_processes_may_write_at_once(folder):
    split = Counted().load(32)
    assert split.train.fingerprint and split.test.fingerprint  # so that the children need no torch
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write_often, args=(split,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while any(writer.is_alive() for writer in writers):
            found = cache._read(cache._path("counted", "key"))
            assert found is None or found.train.fingerprint == split.train.fingerprint
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert [path.name for path in folder.iterdir()] == ["counted-key.safetensors"]


def test_what_is_changed_in_place_is_named_and_read_anew(folder):
    split = load_cached(Counted(), None)
    assert cache.find_changes() == []
    split.train.labels[0] = 1
    assert cache.find_changes() == ["the training set of counted"]
    again = load_cached(Counted(), None)
    assert again.train.labels.tolist() == [0, 1, 0] and cache.find_changes() == []
    again.test.images.zero_()
    assert "the test set of counted" in cache.find_changes()


def test_files_are_as_open_as_the_umask_says(folder):
    before = os.umask(0o027)
    try:
        load_cached(Counted(), None)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o640]


def test_a_file_that_may_not_be_read_is_somebody_s_and_stays(folder, monkeypatch):
    load_cached(Counted(), None)
    (path,) = folder.iterdir()
    before = path.stat()
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root, everything is readable
    with pytest.warns(RuntimeWarning, match="permission denied.*set UE_BENCH_CACHE"):
        load_anew(Counted())
    assert len(LOADS) == 2 and (path.stat().st_mtime_ns, path.stat().st_ino) == (
        before.st_mtime_ns,
        before.st_ino,
    )
