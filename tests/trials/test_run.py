"""The road of a trial, end to end: what is kept, what is repeated, what fails alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ue_bench.api.planned import PlannedRun
from ue_bench.canonical import plain
from ue_bench.contracts.method import Method
from ue_bench.progress import Progress
from ue_bench.trials import evaluate as evaluating
from ue_bench.trials import making, speed
from ue_bench.trials import work as working
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.store import Store

CONTENT = Path(__file__).parents[1] / "content"
DESIGN = """schema id suite status dataset method granularity victim defense poison_ratio seed config metrics curves
noise speed seconds device_seconds peak_bytes device versions commit warnings error"""


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


def records(store: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((store / "trials").glob("*.json"))}


def test_a_second_run_does_nothing(command, store):
    first = command("run", "suite=toy")
    assert first.status == 0, first.err
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    second = command("run", "suite=toy")
    assert "4 trials, 4 done, 0 to do" in second.err
    after = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if path.parent.name != "plans"} == {
        path: time for path, time in before.items() if path.parent.name != "plans"
    }
    assert second.out.split("How this was made")[0] == first.out.split("How this was made")[0]


def test_each_record_is_read_once_for_the_forecast_and_the_run(command, store, monkeypatch):
    assert command("run", "suite=toy").status == 0
    opened = []
    real = Store.read
    monkeypatch.setattr(Store, "read", lambda self, *parts: opened.append(parts) or real(self, *parts))
    wanted = [("trials", f"{key}.json") for key in sorted(records(store))]
    for words in (["run"], ["run", "--dry-run"], ["cost"]):
        opened.clear()
        ended = command(*words, "suite=toy", f"store={store}", f"plugins={CONTENT}")
        assert ended.status == 0 and sorted(parts for parts in opened if parts[0] == "trials") == wanted


def test_what_another_run_does_after_the_forecast_is_kept(command, store):
    words, said = ["suite=toy", f"store={store}", f"plugins={CONTENT}"], []
    planned = PlannedRun.of(words)
    assert planned.records == {}
    assert command("run", *words).status == 0
    before = records(store)
    progress = Progress()
    progress.say = said.append
    summary = planned.work(progress)
    assert "4 trials, 4 done, 0 to do" in said[0]
    assert records(store) == before and len(before) == 4
    assert plain(summary.records) == Store(store).read_records(before)


def test_a_record_holds_what_the_design_promises(command, store):
    command("run", "suite=toy", "method=fragile")
    kept = records(store)
    record = next(record for record in kept.values() if record["method"] == "fragile")
    for key in DESIGN.split():
        assert key in record, key
    assert record["id"] in kept
    assert set(record["metrics"]) >= {"accuracy_last", "accuracy_best", "accuracy_best_epoch"}
    assert (
        set(record["seconds"]) == set(record["device_seconds"]) >= {"prepare", "protect", "train", "evaluate"}
    )
    assert len(record["curves"]["test_accuracy"]) == len(record["curves"]["train_loss"]) == 2
    assert record["noise"]["linf"] == 8 and record["noise"]["changed_images"] == 64
    assert record["noise"]["positive_share"] == record["noise"]["negative_share"] == 0.5
    for name in ("separable_percent", "linear_detector_percent", "two_layer_detector_percent"):
        assert 0 <= record["noise"][name] <= 100
    assert 0 <= record["metrics"]["probe_accuracy"] <= 100 and record["seconds"]["probe"] > 0
    assert record["peak_bytes"] > 0
    told, count = record["speed"], len(record["curves"]["train_loss"])
    assert told["train"]["images"] == 64 * count and told["protect"]["images"] == 64
    assert told["evaluate"]["images"] == 32 * count
    for phase in ("protect", "train", "evaluate"):
        rate = told[phase]["images"] / record["seconds"][phase]
        assert told[phase]["images_per_second"] == pytest.approx(rate)
    pooled = 3 * 4 * 4  # of the linear victim, whose input needs no gradient
    assert told["train"]["flop"] == 64 * count * 2 * (2 * pooled * 4)
    assert told["evaluate"]["flop"] == 32 * count * (2 * pooled * 4)


def test_the_peak_is_measured_in_no_phase(command, monkeypatch):
    """Neither noise nor training is timed while it is, and it is asked for with every clock that counted operations."""
    asked = []
    real = speed.speed_of

    def outside(clock):
        assert not clock._stack
        asked.append(clock.flop)
        return real(clock)

    for module in (evaluating, making):
        monkeypatch.setattr(module, "speed_of", outside)
    assert command("run", "suite=toy", "method=fragile").status == 0
    assert any("train" in flop for flop in asked)


def test_clean_images_that_a_hacker_has_are_not_trained_on(command, store, monkeypatch):
    """An eighth of 64 images by class, whose clean versions choose the epoch."""
    seen = []
    real = evaluating.WAYS["supervised"].train

    def spy(victim, data, *rest, **more):
        seen.append((len(data), data.labels.bincount().tolist(), len(more["validation"])))
        return real(victim, data, *rest, **more)

    way = dataclasses.replace(evaluating.WAYS["supervised"], train=spy)
    monkeypatch.setitem(evaluating.WAYS, "supervised", way)
    ended = command(
        "run", "suite=toy", "method=fragile", "defense=early_stopping", "early_stopping.clean=0.125"
    )
    assert ended.status == 0, ended.err
    record = next(record for record in records(store).values() if record["method"] == "fragile")
    assert 1 <= record["metrics"]["stopped_epoch"] <= 2 and len(record["curves"]["validation_accuracy"]) == 2
    assert {(trained, held) for trained, _, held in seen} == {(56, 8)}
    assert max(seen[0][1]) - min(seen[0][1]) <= 1


def test_the_images_that_choose_the_epoch_are_clean_or_as_published(command, store, monkeypatch):
    """Who has no clean image holds out protected ones: the same ones, with their noise, and trains on the others."""
    seen = {}
    real = evaluating.WAYS["supervised"].train

    def spy(victim, data, *rest, **more):
        seen.setdefault(more["defense"].name, []).append((data.images, more["validation"]))
        return real(victim, data, *rest, **more)

    way = dataclasses.replace(evaluating.WAYS["supervised"], train=spy)
    monkeypatch.setitem(evaluating.WAYS, "supervised", way)
    for defense in ("early_stopping", "held_out_stopping"):
        words = {
            "early_stopping": "early_stopping.images=8",
            "held_out_stopping": "held_out_stopping.share=0.125",
        }
        ended = command("run", "suite=toy", "method=fragile", f"defense={defense}", words[defense])
        assert ended.status == 0, ended.err
    for (rest, clean), (others, published) in zip(*seen.values(), strict=True):
        assert rest.equal(others) and len(rest) == 56 and len(clean) == len(published) == 8
        assert clean.labels.equal(published.labels)
    changes = [
        int((published.images.int() - clean.images.int()).abs().max())
        for (_, clean), (_, published) in zip(*seen.values(), strict=True)
    ]
    assert changes == [0, 8, 8], "clean data, random noise and the method's, each within its budget"


def test_only_what_is_missing_is_done(command, store, monkeypatch):
    command("run", "suite=toy")
    victim = next(key for key, record in records(store).items() if record["granularity"] == "class")
    (store / "trials" / f"{victim}.json").unlink()
    broken = next(key for key, record in records(store).items() if record["method"] == "clean")
    path = store / "trials" / f"{broken}.json"
    path.write_text(path.read_text()[:50])
    done = []
    real = working.evaluate
    monkeypatch.setattr(working, "evaluate", lambda trial, *rest: done.append(trial.id) or real(trial, *rest))
    assert command("run", "suite=toy").status == 0
    assert sorted(done) == sorted([victim, broken])


def test_noise_is_made_once_for_all_that_share_it(command, store):
    ended = command(
        "run", "suite=toy", "method=fragile", "poison_ratio=[0.5,1.0]", "defense=[none,grayscale]"
    )
    assert ended.status == 0, ended.err
    kept = list(records(store).values())
    assert len(kept) == 2 + 4 + 4, "clean has no ratio, so it is trained once a defense"
    assert len({record["noise"]["key"] for record in kept if record["method"] == "fragile"}) == 1
    assert len(list((store / "noise").iterdir())) == 3
    halves = [record for record in kept if record["poison_ratio"] == 0.5]
    assert all(record["noise"]["changed_images"] == 32 for record in halves)


def test_truncated_noise_is_named_and_made_again(command, store):
    command("run", "suite=toy")
    for path in (store / "noise").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    for path in (store / "trials").iterdir():
        path.unlink()
    ended = command("run", "suite=toy")
    assert ended.status == 0
    assert ended.err.count("is corrupt") == 3 + 1  # clean's noise too
    assert all(load_perturbation(Store(store), path.stem) for path in (store / "noise").iterdir())


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("raise", "ValueError: the oven is cold"),
        ("nan", "noise 2 is not finite"),
        ("over", "over its budget of 8"),
        ("constant", "noise 1 is constant"),
        ("one_sided", "one sign only"),
        ("mutate", "fragile changed the training set of blobs in place"),
        ("peek", "reads captions, but declares access to images, labels only"),
        ("shape", r"noise must be \[R, 3, 16, 16\]"),
    ],
)
def test_a_failing_method_fails_alone(command, store, failure, message):
    ended = command("run", "suite=toy", "method=[fragile]", f"fragile.failure={failure}")
    assert ended.status == 1
    kept = {
        record["method"]: record for record in records(store).values() if record["granularity"] != "class"
    }
    assert kept["clean"]["status"] == kept["random"]["status"] == "done"
    assert kept["fragile"]["status"] == "failed"
    assert message.replace("\\", "") in kept["fragile"]["error"]["message"]
    assert "failed" in ended.out and message.replace("\\", "") in ended.err


def test_a_failed_trial_is_tried_again(command, store, monkeypatch):
    def broken(*_):
        raise ValueError("not today")

    monkeypatch.setattr(working, "evaluate", broken)
    assert command("run", "suite=toy").status == 1
    monkeypatch.undo()
    assert command("run", "suite=toy").status == 0
    assert {record["status"] for record in records(store).values()} == {"done"}


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(command, store, monkeypatch):
    real, count = working.evaluate, []

    def interrupted(*words):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(working, "evaluate", interrupted)
    ended = command("run", "suite=toy")
    assert ended.status == 130
    assert "2 of 4 trials are done" in ended.err and "To continue: ue-bench run suite=toy" in ended.err
    assert len(records(store)) == 2


def test_a_full_disk_ends_the_run_with_advice(command, store, monkeypatch):
    command("run", "suite=toy", "method=fragile", "fragile.granularity=image")
    before = set(records(store))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    ended = command("run", "suite=toy", "seed=5")
    assert ended.status == 2 and "No space left on device" in ended.err and "store=DIR" in ended.err
    monkeypatch.undo()
    assert set(records(store)) == before


def test_same_seed_same_result_and_more_seeds_change_nothing(command, store, tmp_path):
    command("run", "suite=toy", "seeds=2")
    one = {key: record["metrics"] for key, record in records(store).items()}
    other = tmp_path / "other"
    command("run", "suite=toy", "method=[fragile]", f"store={other}")
    for key, record in records(other).items():
        assert record["metrics"] == one[key], "adding seeds or methods changes no other's numbers"


def test_with_no_noise_a_run_is_plain_clean_training(command, store):
    """defenses.md I.1: ratio 0 is the clean control, bit for bit, so no other arm repeats it."""
    ended = command("run", "suite=toy", "poison_ratio=[0,0.5]")
    found = list(records(store).values())
    assert [r["method"] for r in found if r["poison_ratio"] == 0] == ["clean"]
    assert "noise at ratio 0%" in ended.out and "clean control" in ended.out
    assert {r["method"] for r in found if r["poison_ratio"] == 0.5} == {"random", "fragile"}


def test_trials_pickle_and_rebuild_their_method(command, store):
    """A worker elsewhere gets a trial and nothing else."""
    import pickle

    from ue_bench.config import compose, parse_words, read_suite
    from ue_bench.registry import Registry
    from ue_bench.trials.environment import Environment
    from ue_bench.trials.making import create_method
    from ue_bench.trials.plan import make_plan

    content = str(Path(__file__).parents[1] / "content")
    registry = Registry([content])
    words = parse_words(["suite=toy", "fragile.budget=linf:3"])
    config = compose("toy", read_suite(registry.find("suites", "toy").path), words, registry.names("methods"))
    plan = make_plan(config, registry, "")
    trial = pickle.loads(pickle.dumps(plan.trials[-1]))
    assert trial.id == plan.trials[-1].id
    method = create_method(trial.method, Environment("", plugins=(content,)))
    assert isinstance(method, Method) and method.budget.radius == 3
