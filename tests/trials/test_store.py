"""The store: whole files or none, damage noticed, errors that say what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import safetensors
import torch

from ue_bench import Budget, Perturbation
from ue_bench.errors import DamagedError, StoreError
from ue_bench.trials import store as storing
from ue_bench.trials.artefacts import load_perturbation, load_tensors, save_perturbation, save_tensors
from ue_bench.trials.layout import Reader
from ue_bench.trials.store import Store

RECORD = {"id": "abc", "status": "done", "metrics": {"accuracy_last": 12.5}}


def some_noise() -> Perturbation:
    whole = torch.randint(-8, 9, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    return Perturbation(
        whole, torch.tensor([0, 1, 2, 3, 3]), Budget("linf", 8), triggers=("a", "b", "c", "d", "e")
    )


def test_records_come_back_as_written(tmp_path):
    store = Store(tmp_path / "new" / "store")
    assert store.read_record("abc") is None
    store.write_record(RECORD)
    assert store.read_record("abc") == {**RECORD, "schema": 1}
    assert os.listdir(tmp_path / "new" / "store" / "trials") == ["abc.json"], "no temporary file is left"


@pytest.mark.parametrize("damage", ["truncate", "edit", "empty", "list"])
def test_a_damaged_record_counts_as_absent_and_is_named(tmp_path, damage):
    store = Store(tmp_path)
    store.write_record(RECORD)
    path = tmp_path / "trials" / "abc.json"
    text = path.read_text()
    path.write_text(
        {"truncate": text[:40], "edit": text.replace("12.5", "99.5"), "empty": "", "list": "[]"}[damage]
    )
    with pytest.warns(RuntimeWarning, match="trials/abc.json is damaged"):
        assert store.read_record("abc") is None
    assert list(store.damaged) == ["trials/abc.json"]


@pytest.mark.parametrize("later", [False, True])
def test_a_change_of_one_letter_is_never_read_as_another_record(tmp_path, later):
    small = {
        "id": "abc",
        "config": {"n": [1, 2], "s": "a b"},
        "curves": {"c": [1.5, 2], "m": {"d": [3, 4]}},
        "warnings": ["x y"],
    }
    store = Store(tmp_path)
    store.write_record(small)
    whole = (tmp_path / "trials" / "abc.json").read_bytes()
    right = {**small, "schema": 1}
    assert Reader(later).read(whole) == right
    for place in range(len(whole)):
        for letter in (b" ", b"\n", b"0", b'"', b",", b""):
            found = Reader(later).read(whole[:place] + letter + whole[place + (not letter) :])
            assert found is None or found == right, (place, letter)


def test_swapped_records_and_plans_are_named(tmp_path):
    store = Store(tmp_path)
    for folder, names in (("trials", ("abc", "def")), ("plans", ("one", "two"))):
        for name in names:
            if folder == "trials":
                store.write_record({**RECORD, "id": name})
            else:
                store.write_plan(name, {"suite": "s", "profile": "", "created": "2026", "trials": []})
        paths = [tmp_path / folder / f"{name}.json" for name in names]
        one, two = (path.read_text() for path in paths)
        paths[0].write_text(two)
        paths[1].write_text(one)
    with pytest.warns(RuntimeWarning):
        assert store.read_records(["abc", "def"]) == {} and store.read_plans() == []
    assert store.damaged["trials/abc.json"] == "it holds the record of def"
    assert store.damaged["plans/two.json"] == "it holds another plan"


def test_swapped_noise_and_changed_facts_are_noticed(tmp_path):
    store = Store(tmp_path)
    for key in ("one", "two"):
        save_perturbation(store, key, some_noise(), {"seconds": {"protect": 2.6}})
    one, two = (tmp_path / "noise" / f"{key}.safetensors" for key in ("one", "two"))
    content = two.read_bytes()
    two.write_bytes(content.replace(b"2.6", b"9.6"))
    with pytest.raises(
        DamagedError, match="two.safetensors is corrupt: its facts are not as they were written"
    ):
        load_perturbation(store, "two")
    one.write_bytes(content)
    with pytest.raises(DamagedError, match="one.safetensors is corrupt: its content belongs to another name"):
        load_perturbation(store, "one")


def test_noise_of_older_versions_tells_no_name_and_stays_readable(tmp_path):
    noise = some_noise()
    header = {"budget": noise.budget, "triggers": None, "facts": {"seconds": {}}}
    save_tensors(
        Store(tmp_path), "noise", "k", {"noise": noise.noise, "rows": noise.rows}, header, sealed=False
    )
    assert load_perturbation(Store(tmp_path), "k")[1] == {"seconds": {}}


def test_records_and_plans_of_older_versions_stay_readable():
    """Those under results/ were written before plans told their key."""
    import warnings

    for folder in (path.parent for path in (Path(__file__).parents[2] / "results").glob("*/plans")):
        store = Store(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            names = store.names("trials", ".json")
            assert len(store.read_records(names)) == len(names) > 0
            assert store.read_plans()


@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_files_are_as_open_as_the_umask_says(tmp_path, umask):
    store, before = Store(tmp_path), os.umask(umask)
    try:
        save_perturbation(store, "k", some_noise(), {})
        store.write_record(RECORD)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}


def test_what_may_not_be_read_is_said_and_stays(tmp_path, monkeypatch):
    store = Store(tmp_path)
    save_perturbation(store, "k", some_noise(), {})
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root, everything is readable
    with pytest.raises(
        StoreError, match="cannot read .*k.safetensors: Permission denied.*store=DIR"
    ) as caught:
        load_perturbation(store, "k")
    assert not isinstance(caught.value, DamagedError), "damaged noise is made again, which would overwrite it"


@pytest.mark.parametrize("schema", [2, "2.0", 1.5, None, True, [1]])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_newer_schema_is_refused(tmp_path, schema, checksum):
    """Whatever else is unknown in it: a record that counts as missing would be overwritten."""
    store = Store(tmp_path)
    store.write_record(RECORD)
    path = tmp_path / "trials" / "abc.json"
    body = {**json.loads(path.read_text()), "schema": schema}
    if not checksum:
        del body["checksum"]
    path.write_text(json.dumps(body))
    with pytest.raises(StoreError, match="newer ue-bench.*this one knows 1.*store=DIR"):
        store.read_record("abc")


@pytest.mark.parametrize("part", ["schema", "checksum"])
def test_a_record_of_ours_that_lost_a_part_counts_as_missing(tmp_path, part):
    store = Store(tmp_path)
    store.write_record(RECORD)
    path = tmp_path / "trials" / "abc.json"
    body = json.loads(path.read_text())
    del body[part]
    path.write_text(json.dumps(body))
    with pytest.warns(RuntimeWarning, match="checksum"):
        assert store.read_record("abc") is None


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file; name a folder"):
        Store(tmp_path / "file")


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_full_disk_loses_nothing_and_leaves_nothing(tmp_path, monkeypatch, moment):
    store = Store(tmp_path)
    store.write_record(RECORD)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync" if moment == "write" else "replace", full)
    with pytest.raises(StoreError, match="No space left on device.*kept.*store=DIR"):
        store.write_record({**RECORD, "status": "failed"})
    monkeypatch.undo()
    assert store.read_record("abc")["status"] == "done"
    assert os.listdir(tmp_path / "trials") == ["abc.json"]


def test_noise_comes_back_bit_for_bit(tmp_path):
    store, noise = Store(tmp_path), some_noise()
    assert load_perturbation(store, "k") is None
    save_perturbation(store, "k", noise, {"seconds": {"protect": 2.5}})
    back, facts = load_perturbation(store, "k")
    assert torch.equal(back.noise, noise.noise) and back.noise.dtype == torch.int8
    assert torch.equal(back.rows, noise.rows)
    assert (back.budget, back.triggers) == (noise.budget, noise.triggers)
    assert facts == {"seconds": {"protect": 2.5}}


@pytest.mark.parametrize("budget", [Budget("none"), Budget("l2", 1.304132), Budget("linf", 8, "positive")])
def test_every_budget_survives_the_file(tmp_path, budget):
    noise = some_noise()
    save_perturbation(Store(tmp_path), "k", Perturbation(noise.noise, noise.rows, budget), {})
    assert load_perturbation(Store(tmp_path), "k")[0].budget == budget


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_damaged_noise_is_noticed(tmp_path, damage):
    store = Store(tmp_path)
    save_perturbation(store, "k", some_noise(), {})
    path = tmp_path / "noise" / "k.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-300] ^= 1
    path.write_bytes({"truncate": content[:-10], "flip": content, "empty": b""}[damage])
    with pytest.raises(StoreError, match="k.safetensors is corrupt"):
        load_perturbation(store, "k")


def test_a_disk_that_fills_up_under_noise_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StoreError, match="No space left on device.*kept.*store=DIR"):
        save_perturbation(Store(tmp_path), "k", some_noise(), {})
    assert os.listdir(tmp_path / "noise") == []


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux to tell kinds of memory apart"
)
def test_noise_is_mapped_not_read_and_changing_it_changes_no_file(tmp_path):
    store, size = Store(tmp_path), 64 * 2**20
    save_tensors(store, "noise", "k", {"noise": torch.ones(size, dtype=torch.int8)}, {})

    def own_bytes() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])

    before = own_bytes()
    tensors, _ = load_tensors(store, "noise", "k")
    assert own_bytes() - before < size / 4
    tensors["noise"][0] = 5
    assert load_tensors(store, "noise", "k")[0]["noise"][0] == 1


def test_an_address_of_another_kind_works():
    store = Store("memory://bucket/run")
    store.write_record(RECORD)
    store.write_plan("p", {"suite": "s", "profile": "", "created": "2026", "trials": []})
    assert Store("memory://bucket/run").read_record("abc")["status"] == "done"
    assert [plan["suite"] for plan in store.read_plans("s")] == ["s"]
    assert store.read_plans("other") == []


def test_plans_are_in_the_order_of_writing_whatever_the_clock_says(tmp_path):
    store = Store(tmp_path)
    for key, year in (("b", "2026"), ("c", "2020"), ("a", "1970"), ("b", "1999")):  # b was run once more
        store.write_plan(key, {"suite": "s", "profile": "", "created": year, "trials": []})
    assert [plan["created"] for plan in store.read_plans("s")] == ["2020", "1970", "1999"]
    store._write_json(
        ("plans", "old.json"), {"suite": "s", "profile": "", "created": "2025", "trials": []}
    )  # of an older version
    assert [plan["created"] for plan in store.read_plans("s")] == ["2025", "2020", "1970", "1999"]


@pytest.mark.parametrize(
    "content",
    [
        {"table": True},
        {"profile": {}},
        {"trials": [3]},
        {"trials": [{}]},
        {"trials": None},
        {"floors": 1},
        {"profile": None},
        {"skipped": [["a"]]},
        {"notices": [{}]},
    ],
)
def test_a_plan_of_other_types_is_named_and_counts_as_absent(tmp_path, content):
    store = Store(tmp_path)
    whole = {"suite": "a", "profile": "", "created": "2026", "table": {}, "trials": [{"id": "b"}]}
    for key, plan in (("whole", whole), ("other", {**whole, **content})):
        store._write_json(("plans", f"{key}.json"), plan)
    with pytest.warns(RuntimeWarning, match=r"plans/other\.json is damaged: it is no plan"):
        assert len(store.read_plans()) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"speed": "x"},
        {"seconds": [1]},
        {"notes": 3},
        {"device": True},
        {"warnings": {}},
        {"status": 1},
        {"status": None},
        {"speed": {"train": "x"}},
        {"warnings": [1]},
    ],
)
def test_a_record_of_other_types_is_named_and_counts_as_absent(tmp_path, content):
    store = Store(tmp_path)
    whole = {"id": "a", "status": "done", "seconds": {"train": 1.0}, "error": None}
    store.write_record(whole)
    store._write_json(("trials", "b.json"), {**whole, "id": "b", **content})
    with pytest.warns(RuntimeWarning, match=r"trials/b\.json is damaged: it is no record"):
        assert list(store.read_records(["a", "b"])) == ["a"]


def test_every_text_list_and_mapping_of_real_plans_and_records_has_its_type_checked():
    """A key that is added later must be told to the store, which reads what anybody may have written."""
    results = Path(__file__).parents[2] / "results"
    for folder, kinds in (("plans", storing.PLAN), ("trials", storing.RECORD)):
        files = sorted(results.glob(f"*/{folder}/*.json"))
        assert files
        for path in files:
            content = json.loads(path.read_text())
            told = {name for name, value in content.items() if isinstance(value, (str, list, dict))}
            assert told - {"id", "key", "checksum"} <= set(kinds), path
            entries = content.get("trials", [])
            assert {n for e in entries for n, v in e.items() if isinstance(v, (str, list, dict))} <= {
                "id",
                *storing.ENTRY,
            }
