"""Every suite has a price, on a machine without any data."""

from __future__ import annotations

import json

import pytest

from ue_bench.config import read_suite
from ue_bench.registry import Registry

SUITES = [
    e.name for e in Registry().entries("suites") if "smoke" in (read_suite(e.path).get("profiles") or {})
]


def test_every_suite_has_a_smallest_profile():
    assert Registry().names("suites") == SUITES


@pytest.mark.parametrize("suite", SUITES)
def test_what_it_costs(command, monkeypatch, tmp_path, suite):
    monkeypatch.delenv("UE_BENCH_DATA", raising=False)
    words = (f"suite={suite}", "profile=smoke", f"store={tmp_path / 'store'}", "--no-calibrate")
    ended = command("cost", *words, "--format", "json")
    assert ended.status == 0, ended.err
    bill = json.loads(ended.out)
    assert bill["trials"]["to_do"] == bill["trials"]["planned"] > 0
    assert not (tmp_path / "store").exists()
