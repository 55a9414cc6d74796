"""Real Ray on this machine: a node, an actor and the run itself are killed, and nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import CONTENT

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ue-bench[ray]'")

from raylets import small_cluster

SLEEPY = '''
"""Noise that takes its time and keeps a diary."""
import dataclasses, os, time, torch
from ue_bench import Access, Budget, Method, Perturbation

@dataclasses.dataclass(frozen=True)
class Sleepy(Method):
    """A few signs."""
    budget: Budget = Budget("linf", 8)
    granularity: str = "class"
    access = Access.LABELS
    granularities = ("class",)

    def protect(self, view, context):
        def note(word):
            with open("DIARY", "a") as diary:
                diary.write(f"{word} {context.seed} {os.getpid()}\\n")
        note("start")
        time.sleep(2)
        rows = view.rows("class")
        signs = torch.randint(0, 2, (int(rows.max()) + 1, 3, *view.image_size), generator=context.generator) * 2 - 1
        note("end")
        return Perturbation.from_float(signs * 8 / 255, rows, self.budget)
'''


@pytest.fixture(scope="module")
def cluster():
    with small_cluster(2) as started:
        yield started


@pytest.fixture
def diary(tmp_path) -> Path:
    path = tmp_path / "diary"
    path.touch()
    (tmp_path / "sleepy.py").write_text(SLEEPY.replace("DIARY", str(path)))
    return path


def words(folder: Path, store: str, *more: str) -> list[str]:
    plugins, store = (
        f"plugins=[{CONTENT},{folder / 'sleepy.py'}]",
        store if ":" in store else f"{folder / store}",
    )
    return ["run", "suite=toy", "method=sleepy", "seeds=2", f"store={store}", plugins, *more]


def on(cluster) -> tuple[str, ...]:
    return "executor=ray", f"ray_address={cluster.address}"


def entries(diary: Path) -> list[list[str]]:
    return [line.split() for line in diary.read_text().splitlines()]


def wait_for(diary: Path, count: int, word: str = "start", seconds: float = 200) -> list[list[str]]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = [entry for entry in entries(diary) if entry[0] == word]
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {count} times {word} in {diary.read_text()!r}")


def records(store: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (store / "trials").glob("*.json")}


def attempts(store: Path) -> list[int]:
    return sorted((record["noise"] or {}).get("attempts", 1) for record in records(store).values())


def meant(record: dict) -> dict:
    """A record without times, places and attempts."""
    away = ("speed", "seconds", "device_seconds", "peak_bytes", "created", "attempts", "checksum")
    noise = {key: value for key, value in (record["noise"] or {}).items() if key != "attempts"}
    return {**{key: value for key, value in record.items() if key not in away}, "noise": noise}


def nothing_done_twice(diary: Path, noises: int) -> None:
    ends = Counter(seed for word, seed, _ in entries(diary) if word == "end")
    assert len(ends) == noises and set(ends.values()) == {1}, ends


def test_a_node_is_lost_in_the_middle_and_the_records_are_those_of_one_machine(
    cluster, command, diary, tmp_path
):
    def kill() -> None:
        wait_for(diary, 2)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    ended = command(*words(tmp_path, "ray", *on(cluster)))
    killer.join()
    assert ended.status == 0, ended.err
    assert "it is tried again" in ended.err
    nothing_done_twice(diary, 2)
    assert attempts(tmp_path / "ray") == [1, 1, 1, 1, 1, 2]
    assert list((tmp_path / "ray" / "claims").iterdir()) == []
    assert command(*words(tmp_path, "local")).status == 0
    here, there = records(tmp_path / "local"), records(tmp_path / "ray")
    assert {key: meant(record) for key, record in there.items()} == {
        key: meant(record) for key, record in here.items()
    }


def test_an_actor_and_then_the_run_are_killed_and_the_same_command_goes_on(cluster, command, diary, tmp_path):
    line = words(tmp_path, "store", *on(cluster))
    run = subprocess.Popen([sys.executable, "-c", "from ue_bench.cli import main; main()", *line])
    os.kill(int(wait_for(diary, 1)[0][2]), signal.SIGKILL)
    actor = int(wait_for(diary, 2)[1][2])
    run.kill()
    run.wait()
    for _ in range(400):
        if not Path(f"/proc/{actor}").exists():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the actor outlived its run")
    ended = command(*line)
    assert ended.status == 0, ended.err
    nothing_done_twice(diary, 2)
    assert len(records(tmp_path / "store")) == 6
    assert list((tmp_path / "store" / "claims").iterdir()) == []


def test_a_node_that_sees_another_store_or_has_another_version_is_named(
    cluster, command, diary, tmp_path, monkeypatch
):
    ended = command(*words(tmp_path, "memory://only-here", *on(cluster)))
    assert ended.status == 2 and "does not see the store" in ended.err and "Traceback" not in ended.err
    monkeypatch.setattr("ue_bench.provenance.version", lambda name: "0.0")
    from ue_bench.provenance import versions

    versions.cache_clear()
    ended = command(*words(tmp_path, "y", *on(cluster)))
    versions.cache_clear()
    assert ended.status == 2 and "torch is" in ended.err and "there and 0.0 here" in ended.err
    ended = command(*words(tmp_path, "z", *on(cluster), "gpus_per_trial=2"))
    assert ended.status == 2 and "needs 2 GPUs and 1 CPUs, but no node" in ended.err
    assert entries(diary) == []
