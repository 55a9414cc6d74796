"""What is foretold, by hand: from the same work, from other data, from slices, and never from nothing."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from interrupted import Saying

from ue_bench.forecast import calibration as calibrating
from ue_bench.forecast.calibration import SlicedEnvironment, calibrate
from ue_bench.forecast.evidence import Evidence, Size, extrapolate, gather, sizes_of, usable_here
from ue_bench.forecast.prediction import in_words, predict, recall
from ue_bench.progress import Progress
from ue_bench.registry import Registry
from ue_bench.report.cost import check_forecast
from ue_bench.trials.artefacts import save_tensors
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import prepare_key
from ue_bench.trials.plan import make_plan
from ue_bench.trials.trial import Choice, Trial

CPU = {"type": "cpu", "name": "Some CPU", "threads": 2}


def trial(method="m", seed=0, epochs=10, data="small", radius=8, ratio=1.0, **changes):
    made = Trial(
        paradigm="supervised",
        dataset=Choice("d", {}),
        image_size=32,
        train_fingerprint=data,
        test_fingerprint="t",
        method=Choice(method, {"budget": {"norm": "linf", "radius": radius, "signs": "both"}}),
        victim=Choice("v", {}),
        defense=Choice("none", {}),
        recipe={"epochs": epochs, "batch_size": 8},
        poison_ratio=ratio,
        seed=seed,
    )
    return dataclasses.replace(made, **changes)


def record(of, protect=7.0, prepare=0.0, train=18.0, evaluate=2.0, prepare_key=None, **changes):
    """A finished record; the device's seconds are twice the wall clock's."""
    seconds = {"prepare": prepare, "protect": protect, "train": train, "evaluate": evaluate, "warmup": 0.5}
    return {
        **{"id": of.id, "status": "done", "method": of.method.name, "config": of.config(), "device": CPU},
        "noise": {"key": of.noise_key, "prepare_key": prepare_key, "examples": 100},
        "seconds": seconds,
        "device_seconds": {phase: 2 * value for phase, value in seconds.items()},
        **changes,
    }


def table(pieces):
    return [(piece.phase, piece.method, piece.source, piece.seconds) for piece in pieces]


SIZES = {"small": Size(100, 50, (32, 32)), "large": Size(400, 150, (32, 32)), "wide": Size(100, 50, (64, 64))}


def test_the_same_work_with_other_seeds_and_epochs():
    records = [record(trial()), record(trial(seed=5), protect=9.0, train=22.0)]
    todo = [trial(seed=1), trial(seed=2, epochs=5), trial(seed=2, epochs=20)]
    pieces = predict(todo, Evidence(records))
    assert table(pieces) == [
        ("protect", "m", "records", 8.0),
        ("train", "m", "records", 20.0),
        ("evaluate", "m", "records", 2.0),
        ("protect", "m", "records", 8.0),
        ("train", "m", "records", 10.0),
        ("evaluate", "m", "records", 1.0),
        ("train", "m", "records", 40.0),
        ("evaluate", "m", "records", 4.0),
    ], "two seeds are two noises, and the last two trials share one"
    assert [piece.device_seconds for piece in pieces] == [2 * piece.seconds for piece in pieces]
    assert in_words(pieces) == "62 s to 3 min (records)", "93 s by 1.5 more or less, and 15 s to start"


def test_noise_that_trials_share_counts_once_in_the_mean():
    same = [record(trial(), protect=6.0), record(trial(defense=Choice("blur", {})), protect=6.0)]
    other = record(trial(seed=1), protect=12.0)
    assert predict([trial(seed=2)], Evidence([*same, other]))[0].seconds == 9.0


def test_what_no_record_tells_is_not_invented():
    pieces = predict([trial("other")], Evidence([record(trial())], sizes=SIZES))
    assert table(pieces) == [
        ("protect", "other", "unknown", None),
        ("train", "other", "records", 18.0),
        ("evaluate", "other", "records", 2.0),
    ]
    assert in_words(pieces) == "at least 13 s (records; unknown: noise of other)"
    assert in_words(predict([trial()], Evidence())) == ""
    assert {
        piece.source for piece in predict([trial(data="wide")], Evidence([record(trial())], sizes=SIZES))
    } == {"unknown"}, "images of another size are another matter"
    slow = trial(victim=Choice("v", {"depth": 9}))
    assert predict([slow], Evidence([record(trial())], sizes=SIZES))[1].source == "unknown"


def test_other_data_of_as_large_images_scales_by_the_number_of_images():
    pieces = predict([trial(data="large")], Evidence([record(trial())], sizes=SIZES))
    assert table(pieces) == [
        ("protect", "m", "scaled records", 28.0),
        ("train", "m", "scaled records", 72.0),
        ("evaluate", "m", "scaled records", 6.0),
    ]


def test_records_go_before_scaled_ones_and_those_before_measurements():
    slices = [record(trial(data="small"), protect=1.0), record(trial(data="small", seed=1), protect=1.0)]
    assert predict([trial(data="large")], Evidence((), slices, SIZES))[0].source == "calibration"
    scaled = predict([trial(data="large")], Evidence([record(trial())], slices, SIZES))[0]
    assert (scaled.source, scaled.seconds) == ("scaled records", 28.0)
    exact = [record(trial()), record(trial(data="large", seed=3), protect=50.0)]
    assert predict([trial(data="large")], Evidence(exact, slices, SIZES))[0].seconds == 50.0


def test_a_line_through_two_sizes():
    assert extrapolate({100: 3.0}, 400) == 12
    assert extrapolate({100: 3.0, 200: 5.0}, 400) == 9
    assert extrapolate({100: 5.0, 200: 4.0}, 400) == 4, "more images never cost less"
    assert extrapolate({10: 99.0, 100: 3.0, 200: 5.0}, 400) == 9, "the nearest two"
    assert extrapolate({100: 3.0, 300: 7.0}, 200) == 5
    assert extrapolate({100: 3.0, 400: 7.0}, 400) == 7


def test_noise_of_no_budget_and_noise_in_the_store_cost_nothing():
    clean, kept = trial("clean", radius=0, ratio=0.0), trial("m")
    evidence = Evidence([record(trial())], made={kept.noise_key})
    assert [piece.phase for piece in predict([clean, kept], evidence)] == ["train", "evaluate"] * 2


def test_withheld_images_shorten_an_epoch():
    share = trial("share", radius=0, ratio=0.25)
    pieces = predict([share], Evidence([record(trial())]))
    assert [(piece.phase, piece.seconds) for piece in pieces] == [("train", 0.75 * 18), ("evaluate", 2.0)]
    back = predict([trial()], Evidence([record(share, train=13.5)]))
    assert back[1].seconds == 18.0


def test_what_methods_prepare_together_counts_once():
    records = [record(trial(name), prepare=60.0, prepare_key="k0") for name in ("a", "b")]
    todo = [trial(name, seed=1) for name in ("a", "b")]
    pieces = predict(todo, Evidence(records))
    prepared = [(piece.method, piece.seconds) for piece in pieces if piece.phase == "prepare"]
    assert prepared == [("a", 60.0)]
    again = predict([trial("c", data="small"), trial("a", seed=0)], Evidence(records, prepared={"k0"}))
    assert "prepare" not in {piece.phase for piece in again}, "the store holds it"
    apart = [
        record(trial("a"), prepare=60.0, prepare_key="x"),
        record(trial("b"), prepare=60.0, prepare_key="y"),
    ]
    assert len([piece for piece in predict(todo, Evidence(apart)) if piece.phase == "prepare"]) == 2


def once(*protect_only):
    """Stands for a method that prepares once for any data; it has no more that forecasts need."""
    return type("Once", (), {"protect_only": frozenset(protect_only)})()


def test_what_is_prepared_once_for_any_data_is_not_scaled_and_counts_once():
    records = [record(trial("t"), prepare=60.0, prepare_key="k0")]
    todo = [trial("t", data="large", seed=1), trial("t", data="small", seed=1)]
    pieces = predict(todo, Evidence(records, sizes=SIZES, once={"t": once()}))
    assert [piece[2:] for piece in table(pieces) if piece[0] == "prepare"] == [("records", 60.0)]
    assert [piece[2:] for piece in table(pieces) if piece[0] == "protect"] == [
        ("scaled records", 28.0),
        ("records", 7.0),
    ], "its noise is scaled as ever"
    before = predict(todo, Evidence(records, sizes=SIZES))
    assert sum(piece.seconds for piece in before if piece.phase == "prepare") == 300.0, "others by the image"
    slices = Evidence((), records, SIZES, once={"t": once()})
    assert table(predict(todo, slices))[0] == ("prepare", "t", "calibration", 60.0)
    assert table(predict(todo, Evidence(sizes=SIZES, once={"t": once()})))[0][:3] == (
        "protect",
        "t",
        "unknown",
    )


def test_what_is_prepared_once_and_in_the_store_costs_nothing():
    """The store knows no record of it: another suite may have prepared it."""
    made, method = trial("t", data="large"), once("granularity")
    arms = [
        dataclasses.replace(made, method=Choice("t", {**made.method.parameters, "granularity": kind}))
        for kind in ("image", "class")
    ]
    records = [record(of, prepare=60.0) for of in (dataclasses.replace(arm, seed=3) for arm in arms)]
    evidence = Evidence(records, sizes=SIZES, once={"t": method})
    assert [piece.seconds for piece in predict(arms, evidence) if piece.phase == "prepare"] == [60.0], (
        "fields that only protect reads share it"
    )
    evidence.prepared = {prepare_key(arms[0].method, arms[0].seed, method)}
    assert "prepare" not in {piece.phase for piece in predict(arms, evidence)}


def test_records_of_other_machines_tell_nothing():
    made = record(trial())
    assert usable_here([made], CPU) == [made]
    assert usable_here([made], {**CPU, "threads": 1}) == usable_here([made], {**CPU, "name": "Other"}) == []
    assert usable_here([{**made, "status": "failed"}], CPU) == []


def test_sizes_are_the_plans_and_of_older_stores_the_noises():
    plans = [{"data": {"large": {"train": 400, "test": 150, "pixels": [32, 32]}}}, {}]
    assert sizes_of(plans, [record(trial())]) == {"large": SIZES["large"], "small": Size(100, 0, (32, 32))}
    old = predict(
        [trial(data="large")], Evidence([record(trial())], sizes=sizes_of(plans, [record(trial())]))
    )
    assert [piece.source for piece in old] == ["scaled records", "scaled records", "unknown"]


def test_a_run_that_goes_on_keeps_what_was_foretold_of_what_is_done():
    first, second = trial(seed=1), trial(seed=2)
    before = recall(predict([first, second], Evidence([record(trial())])))
    known = [record(trial()), record(first, protect=9.0)]
    after = recall(predict([second], Evidence(known)), before)
    assert after["noises"][first.noise_key] == {"protect": [7.0, 14.0, "records"]}
    assert after["noises"][second.noise_key] == {"protect": [8.0, 16.0, "records"]}
    resumed = recall(predict([second], Evidence(known, made={second.noise_key})), before)
    assert resumed["noises"][second.noise_key] == {"protect": [7.0, 14.0, "records"]}, (
        "killed after its noise"
    )
    assert recall([], before) == before
    assert recall(predict([trial("other")], Evidence())) == {"trials": {}, "noises": {}}


def test_prediction_and_truth_are_of_the_same_work():
    first, second, third = trial(seed=1), trial(seed=2), trial("other", seed=1)
    plan = {"forecast": recall(predict([first, second, third], Evidence([record(trial())])))}
    done = [record(first, protect=10.0, train=20.0, evaluate=3.0), record(third, protect=99.0, train=20.0)]
    check = check_forecast(plan, done)
    assert (check.predicted, check.took) == ((27.0 + 20.0, 94.0), (33.0 + 22.0, 110.0))
    assert (check.trials, check.noises, check.sources) == (2, 1, ("records",)), "99 s were never foretold"
    assert check.off_percent == pytest.approx(100 * 8 / 47)
    assert check_forecast(plan, []) is check_forecast({}, done) is None


def test_what_was_prepared_together_is_compared_once():
    a, b = trial("a"), trial("b")
    apart = [record(trial(n, seed=1), prepare=60.0, prepare_key=n) for n in "ab"]
    plan = {"forecast": recall(predict([a, b], Evidence(apart)))}
    done = [record(of, prepare=50.0, prepare_key="both") for of in (a, b)]
    check = check_forecast(plan, done)
    assert (check.predicted[0], check.took[0]) == (120 + 2 * 27, 50 + 2 * 27)


@pytest.fixture
def toy(tmp_path):
    """(words) -> the toy suite's trials and their environment."""
    from conftest import CONTENT

    from ue_bench.config import compose, parse_words, read_suite

    def make(*words):
        given = parse_words(words)
        plugins = (CONTENT, *given.get("plugins", []))
        registry = Registry(list(plugins))
        names = [name for kind in ("methods", "datasets") for name in registry.names(kind)]
        suite = read_suite(registry.find("suites", "toy").path)
        plan = make_plan(compose("toy", suite, given, names), registry, "")
        return plan.trials, Environment(str(tmp_path / "store"), "cpu", plugins)

    return make


class Here:
    """Stands for a worker process: does the task in this one."""

    def __init__(self, perform, cap):
        self.perform, self.time_limit = lambda job: perform(job, Progress()), cap

    def end(self):
        pass


def evidence_of(trials, environment):
    return Evidence(sizes={of.train_fingerprint: Size.of(environment.load(of)) for of in trials})


def test_slices_tell_what_records_do_not(toy, monkeypatch):
    trials, environment = toy("blobs.count=400")
    monkeypatch.setattr(calibrating, "Worker", Here)
    monkeypatch.setattr(calibrating, "TRAINING_SECONDS", 0.0)
    known = calibrate(trials, evidence_of(trials, environment), environment, Progress())
    pieces = predict(trials, known)
    assert {piece.source for piece in pieces} == {"calibration"}
    assert all(piece.seconds > 0 and piece.device_seconds >= 0 for piece in pieces)
    images = {known.sizes[r["config"]["train_fingerprint"]].train for r in known.calibrated}
    assert images == {128, 256, 400}, "8 batches of 16 to train on; noise on 256 and then on all 400"
    assert not environment.open_store().names("noise", ".safetensors"), "the store is not touched"
    assert calibrate(trials, known, environment, Progress()).calibrated == known.calibrated, "nothing is left"


def test_a_method_that_cannot_be_measured_is_unknown_with_the_reason(toy, monkeypatch):
    trials, environment = toy("method=fragile", "fragile.failure=raise")
    monkeypatch.setattr(calibrating, "Worker", Here)
    monkeypatch.setattr(calibrating, "TRAINING_SECONDS", 0.0)
    known = calibrate(trials, evidence_of(trials, environment), environment, Progress())
    lost = [piece for piece in predict(trials, known) if piece.seconds is None]
    assert [(piece.phase, piece.method, piece.why) for piece in lost] == [
        ("protect", "fragile", "on a slice of 64 images: the oven is cold")
    ]


def test_a_measurement_that_takes_too_long_is_ended(toy):
    trials, environment = toy("method=fragile", "fragile.failure=hang")
    hanging = [of for of in trials if of.method.name == "fragile"]
    evidence = evidence_of(hanging, environment)
    evidence.records = [record(hanging[0])]  # its training is known
    evidence.records[0]["seconds"].pop("protect")
    known = calibrate(hanging, evidence, environment, Progress(), cap=0.5)
    (lost,) = [piece for piece in predict(hanging, known) if piece.seconds is None]
    assert lost.why == "64 of 64 images take longer than 0.5 s"


def test_all_measurements_together_may_be_bounded(toy, monkeypatch):
    trials, environment = toy("blobs.count=400")
    monkeypatch.setattr(calibrating, "Worker", Here)
    progress = Saying()
    known = calibrate(trials, evidence_of(trials, environment), environment, progress, total=0.0)
    assert not known.calibrated and set(known.failures.values()) == {"not measured within 0 s"}
    assert progress.lines[0].startswith(
        "calibration: measuring 4 costs that are in no record, on slices of the data"
    )
    monkeypatch.setattr(calibrating, "TRAINING_SECONDS", 0.0)
    calibrate(trials, evidence_of(trials, environment), environment, progress)
    assert [re.sub(r"[\d.]+ s$", "T", line.strip()) for line in progress.lines[2:]] == [
        "[1/4] training of linear, none: 128 of 400 images of blobs took T",
        "[2/4] random (image): 256 of 400 images of blobs took T",
        "[3/4] fragile (image): 256 of 400 images of blobs took T",
        "[4/4] fragile (class): 256 of 400 images of blobs took T",
    ], "a first slice of everything"


MADE_ONCE = '''"""A method for these tests."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Access, Budget, Method, Perturbation


@dataclass(frozen=True)
class Oncer(Method):
    """Signs that were drawn once."""

    budget: Budget = Budget("linf", 8)  # steps of 1/255
    granularity: str = "image"  # image

    access = Access.NOTHING
    paradigms = frozenset({"supervised"})
    granularities = ("image",)

    def prepare(self, context):
        return {"sign": torch.ones(1)}

    def protect(self, view, context):
        if "sign" not in context.prepared or float(context.prepared["sign"]) != 2:
            raise ValueError("not what the store lent")
        noise = torch.randint(0, 2, (len(view), 3, *view.image_size), generator=context.generator) * 16 - 8
        return Perturbation(noise.to(torch.int8), torch.arange(len(view)), self.budget)
'''


def test_a_measurement_borrows_what_the_store_has_prepared(toy, monkeypatch, tmp_path):
    plugin = tmp_path / "oncer.py"
    plugin.write_text(MADE_ONCE)
    trials, environment = toy("method=oncer", f"plugins=[{plugin}]")
    evidence = gather(trials, {}, environment)
    assert list(evidence.once) == ["oncer"] and not evidence.prepared
    (mine,) = [of for of in trials if of.method.name == "oncer"]
    key = prepare_key(mine.method, mine.seed, evidence.once["oncer"])
    kept = {"seconds": {"prepare": 500.0}, "device_seconds": {"prepare": 500.0}, "prepare_key": key}
    save_tensors(environment.open_store(), "prepared", key, {"sign": torch.full((1,), 2.0)}, kept)
    monkeypatch.setattr(calibrating, "Worker", Here)
    monkeypatch.setattr(calibrating, "TRAINING_SECONDS", 0.0)
    evidence = gather(trials, {}, environment)
    progress = Saying()
    pieces = predict(trials, calibrate(trials, evidence, environment, progress))
    assert {piece.source for piece in pieces} == {"calibration"} and sum(p.seconds for p in pieces) < 100
    (told,) = [line for line in progress.lines if "oncer" in line]
    assert re.search(r"images of blobs took \d\.\d s \(the store has its preparation\)$", told), (
        "not its 500 s"
    )
    assert "prepare" not in {piece.phase for piece in pieces}


def test_a_slice_has_every_class_in_its_share(toy):
    trials, environment = toy("blobs.count=400")
    split = SlicedEnvironment.of(environment, "elsewhere", 40).load(trials[0])
    assert split.train.labels.bincount().tolist() == split.test.labels.bincount().tolist() == [10] * 4
    assert split.train.fingerprint != trials[0].train_fingerprint
