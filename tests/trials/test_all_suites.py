"""Every suite ends with a valid table where there is no data set and no network."""

from __future__ import annotations

import json

import pytest
from all_suites import faults_of, main

from ue_bench.registry import Registry

SMALL = ["shapes.train_images=100", "shapes.test_images=60"]
FEW = {"supervised": ["recipe.epochs=1", "floors.clean_accuracy=0"], "contrastive": ["recipe.epochs=1"]}


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    """One for all suites, so that what methods prepare once is prepared once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def nothing_at_hand(monkeypatch, tmp_path):
    """No data set, no network, an empty home."""

    def refuse(*_, **__):
        raise OSError("network unreachable")

    for name in ("UE_BENCH_DATA", "UE_BENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.parametrize("name", Registry().names("suites"))
def test_a_suite_runs_anywhere(name, command, shared_store, nothing_at_hand):
    """Fewer pictures than the profile smoke has, one epoch."""
    paradigm = (
        "contrastive"
        if "paradigm: contrastive" in Registry().find("suites", name).path.read_text()
        else "supervised"
    )
    words = [f"suite={name}", "profile=smoke", f"store={shared_store}", *SMALL, *FEW[paradigm]]
    ended = command("run", *words, "--format", "json")
    assert ended.status == 0, ended.err
    assert faults_of(json.loads(ended.out)) == []


def test_the_script_for_all_suites_tells_what_is_wrong(capsys):
    assert main(["profile=smoke", "suite=efficiency", "suite=nowhere"]) == 1
    printed = capsys.readouterr().out
    assert "| efficiency | 0 |" in printed and "nowhere: exit 2" in printed
