"""Real processes killed, hung, crashed and crossed: what a store holds afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CONTENT = TOP / "tests" / "content"


def heed_ctrl_c() -> None:
    """A process started in the background of a script inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(store: Path, *words: str) -> subprocess.Popen:
    code = "from ue_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "suite=toy", f"plugins={CONTENT}", f"store={store}", *words]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # several processes share few cores
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, preexec_fn=heed_ctrl_c, **pipes)


def records(store: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (store / "trials").glob("*.json")}


def test_killed_in_the_middle_it_repeats_no_finished_trial(tmp_path):
    run = start(tmp_path, "seeds=10")
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("trials/*.json"))) < 5:
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*.json")}
    assert 5 <= len(before) < 40
    _, said = (again := start(tmp_path, "seeds=10")).communicate()
    assert again.returncode == 0, said
    assert f"40 trials, {len(before)} done, {40 - len(before)} to do" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(records(tmp_path)) == 40


def test_two_processes_on_one_store_do_not_disturb_each_other(tmp_path):
    runs = [start(tmp_path, "seeds=3"), start(tmp_path, "seeds=3")]
    for run in runs:
        _, said = run.communicate(timeout=240)
        assert run.returncode == 0, said
    kept = records(tmp_path)
    assert len(kept) == 12 and {record["status"] for record in kept.values()} == {"done"}


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("hang", "it took longer than time_limit=30 seconds"),
        ("exit", "it took its process down (exit status 9)"),
    ],
)
def test_a_method_that_hangs_or_crashes_fails_alone(tmp_path, failure, message):
    run = start(tmp_path, f"fragile.failure={failure}", "time_limit=30", "seed=3")
    _, said = run.communicate(timeout=240)
    assert run.returncode == 1, said
    kept = {(record["method"], record["granularity"]): record for record in records(tmp_path).values()}
    assert {record["status"] for key, record in kept.items() if key[0] != "fragile"} == {"done"}
    failed = [record for key, record in kept.items() if key[0] == "fragile"]
    assert len(failed) == 2 and all(message in record["error"]["message"] for record in failed)


def test_ctrl_c_on_a_real_process(tmp_path):
    run = start(tmp_path, "seeds=100")
    while len(list(tmp_path.glob("trials/*.json"))) < 2:
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    for _ in range(5):  # Python may lose one that arrives inside a callback; a person presses again
        run.send_signal(signal.SIGINT)
        try:
            _, said = run.communicate(timeout=40)
            break
        except subprocess.TimeoutExpired:
            continue
    assert run.returncode == 130, said
    assert "To continue: ue-bench run suite=toy" in said and "Traceback" not in said


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/ns").exists(), reason="root writes everywhere")
def test_a_store_that_cannot_be_written(tmp_path):
    if os.geteuid() == 0:
        store = Path("/proc/ue-bench")  # not even root writes here
    else:
        store = tmp_path / "locked"
        store.mkdir(mode=0o500)
    _, said = (run := start(store)).communicate()
    assert run.returncode == 2 and "cannot write" in said and "store=DIR" in said and "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to find a process's children")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_worker_behind(tmp_path, number):
    run = start(tmp_path, "fragile.failure=hang", "time_limit=600")
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("trials/*.json"))) < 2:  # clean and random: now it hangs
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.05)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert workers
    run.send_signal(number)
    run.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "the worker goes on"
        time.sleep(0.05)
