"""Several processes on one store, killed and asked to end: nothing is lost, nothing done twice, nothing left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CONTENT

from ue_bench.trials.store import Store

WATCHED = """
import os, sys
from ue_bench.trials.store import Store
write = Store.write_record
def watched(self, record):
    write(self, record)
    with open(os.environ["FINISHED"], "a") as file:
        file.write(record["id"] + "\\n")
Store.write_record = watched
from ue_bench.cli import main
main()  # without the guard that processes usually ask of a script
"""


def start(store: Path, *words: str) -> subprocess.Popen:
    """A run in a process of its own, which tells in a file what it finished."""
    script = store.parent / "watched.py"
    script.write_text(WATCHED)
    command = [sys.executable, script, "run", "suite=toy", f"plugins={CONTENT}", f"store={store}", *words]
    environment = {**os.environ, "FINISHED": str(store.parent / "finished")}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def left_behind(store: Path) -> list[str]:
    return [path.name for path in store.rglob("*") if path.suffix in (".tmp", ".claim")]


def values(store: Path) -> dict[str, dict]:
    """What the records say apart from times, host and memory."""
    passing = ("speed", "seconds", "device_seconds", "created", "checksum", "peak_bytes", "attempts")
    found = {path.stem: json.loads(path.read_text()) for path in (store / "trials").glob("*.json")}
    return {key: {k: v for k, v in record.items() if k not in passing} for key, record in found.items()}


def wait_for(condition, run: subprocess.Popen) -> None:
    end = time.monotonic() + 900
    while not condition():
        assert run.poll() is None and time.monotonic() < end, run.communicate()
        time.sleep(0.02)


def test_two_workers_find_what_one_finds_and_sigterm_ends_them_in_time(tmp_path):
    stores = [tmp_path / "one" / "s", tmp_path / "two" / "s"]
    runs = []
    for store, workers in zip(stores, (1, 2), strict=True):
        store.parent.mkdir()
        runs.append(start(store, f"workers={workers}", "seeds=2"))
    for run in runs:
        _, said = run.communicate(timeout=900)
        assert run.returncode == 0, said
    assert values(stores[0]) == values(stores[1]) and len(values(stores[0])) == 8
    assert not left_behind(stores[1])

    run = start(stores[1], "workers=2", "seeds=200")
    before = len(values(stores[1]))
    wait_for(lambda: len(list((stores[1] / "trials").glob("*.json"))) > before, run)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=300)
    assert run.returncode == 143 and "To continue: ue-bench run suite=toy" in said and "Traceback" not in said
    assert not left_behind(stores[1])


def test_killed_and_terminated_at_random_they_finish_everything_once(tmp_path):
    store, chance = tmp_path / "s", random.Random(1)
    words = ("workers=1", "seeds=8")
    runs = [start(store, *words) for _ in range(3)]
    for number in (signal.SIGKILL, signal.SIGTERM):
        wait_for(lambda: len(list(store.glob("trials/*.json"))) >= 4, runs[0])
        time.sleep(chance.random())
        runs[0].send_signal(number)
        _, said = runs.pop(0).communicate(timeout=300)
        assert "Traceback" not in said
        runs.append(start(store, *words))
    for run in runs:
        _, said = run.communicate(timeout=900)
        assert run.returncode == 0 and "Traceback" not in said, said
    finished = (tmp_path / "finished").read_text().split()
    assert len(set(finished)) == 32 and len(finished) == 32, "each trial was finished once"
    assert not left_behind(store)


def test_sigterm_while_a_run_writes_its_plan_ends_it_as_later(command, tmp_path, monkeypatch):
    def unheeded(*_):
        raise AssertionError("the process would end at once")

    def terminated(handle):
        os.kill(os.getpid(), signal.SIGTERM)

    write_plan = Store.write_plan

    def watched(*what):
        with monkeypatch.context() as changes:
            changes.setattr(os, "fsync", terminated)
            write_plan(*what)

    monkeypatch.setattr(Store, "write_plan", watched)
    before = signal.signal(signal.SIGTERM, unheeded)
    try:
        ended = command("run", "suite=toy", f"store={tmp_path / 's'}")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.status == 143 and "To continue: ue-bench run suite=toy" in ended.err
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("word", ["yesterday", "-3h", "3", "0h", "3h50", "50m3h"])
def test_times_that_are_none(command, word):
    ended = command("run", "suite=toy", f"stop_after={word}")
    assert ended.status == 2 and "stop_after= must be a time from now such as 3h50m" in ended.err


def test_what_would_end_too_late_is_left_and_said(command, tmp_path):
    words = ("run", "suite=toy", f"store={tmp_path / 's'}")
    assert command(*words, "stop_after=1h").status == 0
    (tmp_path / "s" / "trials" / "x").mkdir()
    for path in (tmp_path / "s" / "trials").glob("*.json"):
        record = json.loads(path.read_text())
        record["seconds"]["train"] = 1e6  # foretells what the next seeds take
        Store(tmp_path / "s").write_record({k: v for k, v in record.items() if k != "checksum"})
    ended = command(*words, "seed=5", "stop_after=1h")
    assert ended.status == 0 and "4 trials are left. To continue: ue-bench run suite=toy" in ended.err


def test_status_tells_what_is_done_and_who_works(command, tmp_path, monkeypatch):
    store = tmp_path / "runs"
    assert command("run", "suite=toy", f"store={store}").status == 0
    trial = next((store / "trials").glob("*.json"))
    trial.unlink()
    said = {"owner": "o", "task": "t", "process": "far-7-1", "host": "node3", "since": "noon", "token": "x"}
    (store / "claims" / f"trial-{trial.stem}.claim").write_text(json.dumps(said))
    ended = command("status", f"store={store}")
    assert "toy: 4 trials, 3 done, 1 being worked on, 0 failed, 1 left" in ended.out
    assert f"trial-{trial.stem}: process 7 on node3 since noon" in ended.out
    monkeypatch.chdir(tmp_path)
    assert command("status").out == ended.out, "the store is runs, as everywhere"
    assert command("status", f"store={tmp_path / 'none'}").status == 2


def test_slurm_prints_identical_lines_and_checks_its_words(command):
    ended = command("slurm", "suite=supervised", "gpus=8", "hours=4", "store=/shared/my runs")
    assert "--array=0-7" in ended.out and "--time=04:00:00" in ended.out
    assert "exec srun ue-bench run suite=supervised 'store=/shared/my runs' stop_after=3h50m" in ended.out
    for words in (["gpus=0", "hours=4"], ["gpus=8"], ["gpus=8", "hours=0"], ["gpus=8", "hours=4", "sede=1"]):
        assert command("slurm", "suite=supervised", *words).status == 2


BUSY = """
import os, signal, threading, time
from ue_bench.trials import ending
ending.GRACE = 0.2
def give_up():
    print("gives up", flush=True)
    raise OSError("the disk fails")
with ending.heeding_sigterm(give_up):
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(60)  # a library that cannot be interrupted
"""


def test_a_busy_run_ends_in_time_though_giving_up_fails():
    ended = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 143 and ended.stdout == "gives up\n" and not ended.stderr
