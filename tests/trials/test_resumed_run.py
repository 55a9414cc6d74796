"""A run that is killed while a victim trains: the next one goes on within the training, and finds the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_many import start, values, wait_for

from ue_bench.config import compose
from ue_bench.errors import ConfigError
from ue_bench.trials.leftovers import remove_leftovers
from ue_bench.trials.states import States
from ue_bench.trials.store import Store

LONG = ("recipe.epochs=600", "method=[]")


def states(store: Path) -> list[Path]:
    return sorted((store / "checkpoints").glob("*.pt"))


def test_a_killed_run_goes_on_within_a_training(tmp_path):
    store, whole = tmp_path / "killed" / "s", tmp_path / "whole" / "s"
    for folder in (store, whole):
        folder.parent.mkdir()
    run = start(store, *LONG, "checkpoint_minutes=0.00001")
    wait_for(lambda: states(store), run)
    run.kill()
    run.communicate()
    (kept,) = {path.name.split(".")[0] for path in states(store)}

    run = start(store, *LONG, "checkpoint_minutes=0.00001")
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0 and "continues after" in said, said
    assert not list((store / "checkpoints").iterdir())

    run = start(whole, *LONG, "checkpoint_minutes=0")
    _, said = run.communicate(timeout=300)
    assert run.returncode == 0 and not (whole / "checkpoints").exists(), "0: never"
    found, wanted = values(store), values(whole)
    resumed = found[kept.removeprefix("trial-")].pop("resumed")
    assert {place.split()[0] for place in resumed} <= {"epoch", "step"}
    assert found == wanted and len(found) == 2


def test_states_of_finished_work_are_removed_by_the_next_run(tmp_path):
    store = Store(tmp_path)
    store.write_record({"id": "a", "status": "done"})
    store.write_record({"id": "b", "status": "failed"})
    store.write(("noise", "c.safetensors"), b"")
    works = ("trial-a", "trial-b", "trial-x", "noise-c", "noise-x", "prepared-c")
    for work in works:
        States(store).save(f"{work}.12345678", {})
    remove_leftovers(store)
    left = {path.name.split(".")[0] for path in states(tmp_path)}
    assert left == {"trial-b", "trial-x", "noise-x", "prepared-c"}


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf")])
def test_minutes_that_no_clock_counts(minutes):
    content = {"dataset": ["a"], "method": ["b"], "victim": ["c"]}
    with pytest.raises(ConfigError, match="such as 10, or 0 for no checkpoints"):
        compose("s", content, {"checkpoint_minutes": minutes}, [])
