"""What a machine gains by bf16: measured once, kept with all that it depends on, and said in words."""

from __future__ import annotations

import json

import pytest
import torch

from ue_bench.errors import ConfigError
from ue_bench.training import gain, machine


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """(ratio) -> a list of the measurements that are made from now on, each with this result."""
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("UE_BENCH_BF16")
    machine._found.clear()
    made: list[int] = []

    def give(ratio: float) -> list[int]:
        monkeypatch.setattr(gain, "measure", lambda threads: (made.append(threads) or ratio, 9))
        return made

    yield give
    machine._found.clear()


def test_a_machine_is_measured_once(measured):
    made = measured(1.7)
    assert gain.bf16_pays(1) and gain.bf16_pays(1)
    machine._found.clear()  # another process
    assert gain.bf16_pays(1) and made == [1]
    assert gain.bf16_pays(2) and made == [1, 2], "another number of threads is another measurement"


def test_a_little_is_not_enough(measured):
    measured(1.05)
    assert not gain.bf16_pays(1)


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"cpu": "other"}', "zero"])
def test_what_is_kept_and_damaged_is_measured_again(measured, tmp_path, spoilt):
    made = measured(1.7)
    gain.bf16_pays(1)
    (file,) = (tmp_path / "bf16").glob("*.json")
    assert json.loads(file.read_text())["torch"] == torch.__version__
    whole = file.read_text()
    file.write_text(whole.replace("1.7", "0") if spoilt == "zero" else spoilt)
    machine._found.clear()
    assert gain.bf16_pays(1) and made == [1, 1]


def test_a_measurement_of_another_torch_is_not_used(measured, tmp_path, monkeypatch):
    made = measured(1.7)
    gain.bf16_pays(1)
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert gain.bf16_pays(1) and made == [1, 1]


def test_a_folder_that_cannot_be_written_costs_a_measurement_only(measured, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UE_BENCH_CACHE", str(tmp_path / "file"))
    made = measured(0.2)
    assert not gain.bf16_pays(1) and not gain.bf16_pays(1) and made == [1]


def test_a_person_decides_for_all_runs(measured, monkeypatch):
    made = measured(0.2)
    monkeypatch.setenv("UE_BENCH_BF16", "on")
    assert gain.bf16_pays(1) and not made
    monkeypatch.setenv("UE_BENCH_BF16", "yes")
    with pytest.raises(ConfigError, match=r"UE_BENCH_BF16.*'yes'"):
        gain.bf16_pays(1)


def test_env_says_what_was_measured(command, measured, tmp_path):
    made = measured(1.7)
    ended = command("env", "threads=2")
    assert ended.status == 0 and made == [2]
    assert "bf16 on this CPU: used, since it is 1.70 times as fast as float32" in ended.out
    assert "with 2 threads" in ended.out and "versions: ue_bench" in ended.out
    assert f"cache: {tmp_path}" in ended.out
    assert command("env", "threads=0").status == 2


def test_the_measurement_leaves_the_process_as_it_was(monkeypatch):
    """One real measurement, in small; its value is this machine's own matter."""
    monkeypatch.setattr(gain, "MANY", 4)
    monkeypatch.setattr(gain, "SECONDS", 0.0)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    ratio, pairs = gain.measure(1)
    assert ratio > 0 and pairs >= 1
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    assert not torch.is_autocast_enabled("cpu")
