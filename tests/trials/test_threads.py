"""The number of threads: one unless said otherwise, part of a trial's name where it changes results."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import CONTENT

import ue_bench
from ue_bench.configure import configure
from ue_bench.threads import computing_with
from ue_bench.trials import plan
from ue_bench.trials.arithmetic import Arithmetic
from ue_bench.trials.making import prepare_key
from ue_bench.trials.store import Store
from ue_bench.trials.trial import Choice, Trial

NOTHING = Choice("x", {})
TRIAL = Trial("supervised", NOTHING, None, "a", "b", NOTHING, NOTHING, NOTHING, {}, 1.0, 0)


def test_ids_of_one_thread_are_those_from_before_threads_were_counted():
    assert (TRIAL.id, TRIAL.noise_key) == ("3ca8b5c92062bd80", "70b4d04d84fac185"), (
        "computed by an older version"
    )
    assert "threads" not in TRIAL.config()
    two = dataclasses.replace(TRIAL, threads=2)
    assert two.id != TRIAL.id and two.noise_key != TRIAL.noise_key and two.config()["threads"] == 2


def test_a_preparation_is_told_by_its_threads():
    class Method:
        protect_only = ()

    keys = [prepare_key(NOTHING, 0, Method(), Arithmetic(threads)) for threads in (1, 2, 3)]
    assert keys[0] == prepare_key(NOTHING, 0, Method()) and len(set(keys)) == 3


def records(folder):
    store = Store(folder)
    return store.read_records(store.names("trials", ".json")).values()


def test_the_machine_does_not_decide(command, tmp_path):
    with computing_with(2):
        assert command("run", "suite=toy", f"store={tmp_path / 'one'}").status == 0
        ended = command("run", "suite=toy", "threads=3", f"store={tmp_path / 'one'}")
    assert ended.status == 0 and "4 trials, 0 done" in ended.err
    kept = records(tmp_path / "one")
    assert sorted(record["device"]["threads"] for record in kept) == [1] * 4 + [3] * 4
    assert sorted(record["config"].get("threads", 0) for record in kept) == [0] * 4 + [3] * 4


def test_on_an_accelerator_threads_are_no_part_of_a_trial(monkeypatch):
    def plan_of(*words):
        config, registry = configure(["suite=toy", f"plugins={CONTENT}", *words])
        return [trial.id for trial in plan.make_plan(config, registry, "").trials]

    assert plan_of() != plan_of("threads=2")
    monkeypatch.setattr(plan, "find_device", lambda word: torch.device("cuda"))
    assert plan_of() == plan_of("threads=2")


@pytest.mark.parametrize("word", ["threads=0", "threads=1025", "threads=two", "threads=1.5"])
def test_numbers_that_are_none(command, word):
    ended = command("run", "suite=toy", word)
    assert ended.status == 2 and "threads" in ended.err


def test_from_python_the_callers_threads_stay(make_images, tmp_path):
    images = make_images(8)
    with computing_with(2):
        ue_bench.protect("random", images.images, images.labels, store=tmp_path, threads=3)
        assert torch.get_num_threads() == 2
