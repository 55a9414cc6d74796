"""Trainings that are killed and go on from a checkpoint, equal to the bit to those that were not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random

import numpy as np
import pytest
import torch
from captioned import build_victim as build_clip
from conftest import build_victim
from interrupted import Interrupted, Saying, each_step, in_pieces
from torch import nn

from ue_bench.checkpoints import Checkpoints
from ue_bench.clock import Clock
from ue_bench.contracts.defense import Defense
from ue_bench.training.contrastive import train_contrastive
from ue_bench.training.pairs import Pairs
from ue_bench.training.recipe import ContrastiveRecipe, Recipe
from ue_bench.training.supervised import train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("ue_bench.checkpoints.SHARE", 0)


@dataclasses.dataclass(frozen=True)
class Dice(Defense):
    """Draws from every generator there is."""

    def batch(self, images, targets, generator):
        own = torch.rand(1, generator=generator)
        shared = random.random() + np.random.rand() + float(torch.rand(()))
        return images * (1 - 0.1 * own) + 0.01 * shared, targets

    def pairs(self, images, captions, generator):
        return self.batch(images, None, generator)[0], captions

    def captions(self, texts, generator):
        order = torch.randperm(len(texts), generator=generator)
        return [f"{text} {number}" for text, number in zip(texts, order.tolist(), strict=True)]


def start() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def supervised(make_images, place=None, optimizer="sgd"):
    """(weights, curves) of a small classifier, 3 epochs of 5 steps."""
    start()
    data = make_images(40, 4)
    recipe = Recipe(epochs=3, batch_size=8, optimizer=optimizer, learning_rate=0.01)
    model = build_victim("resnet_tiny", 4, (32, 32), 0)
    clock = Clock(CPU)
    checkpoints = each_step(place, clock) if place else None
    curves = train(
        model,
        data,
        recipe,
        device=CPU,
        seed=0,
        clock=clock,
        test=make_images(12, 4, seed=1),
        defense=Dice(),
        checkpoints=checkpoints,
    )
    return model.state_dict(), dataclasses.asdict(curves)


def contrastive(make_images, place=None):
    """The same of a small CLIP: 2 epochs of 4 steps."""
    start()
    pairs = Pairs.of(make_images(16, 4))
    towers, clock = build_clip("", 0, (32, 32), 0), Clock(CPU)
    checkpoints = each_step(place, clock) if place else None
    curves = train_contrastive(
        towers,
        pairs,
        ContrastiveRecipe(epochs=2, batch_size=8, warmup_steps=0),
        device=CPU,
        seed=0,
        clock=clock,
        test=make_images(8, 4, seed=1),
        defense=Dice(),
        checkpoints=checkpoints,
    )
    return towers.state_dict(), dataclasses.asdict(curves)


def assert_equal(one, two):
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(value, two[0][name]) for name, value in one[0].items())


@pytest.mark.parametrize(("optimizer", "after"), [("sgd", 1), ("sgd", 4), ("adamw", 3)])
def test_a_classifier_goes_on_within_an_epoch(make_images, tmp_path, optimizer, after):
    whole = supervised(make_images, optimizer=optimizer)
    found, times = in_pieces(tmp_path, lambda place: supervised(make_images, place, optimizer), after)
    assert times == {1: 14, 3: 4, 4: 3}[after], "4 steps an epoch can be followed by one more, and 2 epochs"
    assert_equal(found, whole)


def test_a_clip_goes_on_within_an_epoch(make_images, tmp_path):
    whole = contrastive(make_images)
    found, times = in_pieces(tmp_path, lambda place: contrastive(make_images, place), 2)
    assert times == 3
    assert_equal(found, whole)


def walk(
    checkpoints: Checkpoints, done: list, progress: Saying | None = None, stop: int | None = None, **parts
) -> list:
    progress = progress or Saying()
    for number in checkpoints.track(range(4), "round", progress, done=done, **parts):
        if number == stop:
            raise KeyboardInterrupt
        done.append(number)
    return done


class TestFile:
    @pytest.fixture
    def place(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            walk(each_step(Interrupted(tmp_path), Clock(CPU)), [], Saying(), stop=3)
        return Interrupted(tmp_path)

    @pytest.fixture
    def file(self, place, tmp_path):
        (file,) = (tmp_path / "checkpoints").iterdir()
        return file

    def test_it_goes_on(self, place):
        progress, checkpoints = Saying(), each_step(place, Clock(CPU))
        assert walk(checkpoints, [], progress) == [0, 1, 2, 3]
        assert checkpoints.resumed == ["round 3"] and "continues after round 3" in progress.lines[0]

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
    def test_a_damaged_one_is_named_and_the_work_begins_anew(self, place, file, damage):
        content = bytearray(file.read_bytes())
        if damage == "flipped":
            content[content.index(b"\x80\x02}") + 8] ^= 1
        file.write_bytes({"cut": content[:200], "empty": b"", "other": b"hello"}.get(damage, bytes(content)))
        progress, checkpoints = Saying(), each_step(place, Clock(CPU))
        assert walk(checkpoints, [], progress) == [0, 1, 2, 3] and not checkpoints.resumed
        assert file.name in progress.lines[0] and "warning" in progress.lines[0]
        assert "damaged" in progress.lines[0] and "starts from the beginning" in progress.lines[0]

    def test_one_under_another_name_is_damaged(self, place, file):
        checkpoints = Checkpoints(place, Clock(CPU), "trial-y", minutes=1e-9)
        os.rename(file, file.with_name(file.name.replace("trial-x", "trial-y")))
        progress = Saying()
        assert walk(checkpoints, [], progress) == [0, 1, 2, 3] and "another name" in progress.lines[0]

    def test_one_of_other_code_or_settings_is_not_used(self, place):
        for changes, parts in (({"code": "changed"}, {}), ({}, {"rate": 2}), ({}, {"more": []})):
            progress, checkpoints = Saying(), each_step(place, Clock(CPU), **changes)
            assert walk(checkpoints, [], progress, **parts) == [0, 1, 2, 3] and not checkpoints.resumed
            assert "not used" in progress.lines[0]
            with pytest.raises(KeyboardInterrupt):
                walk(each_step(place, Clock(CPU)), [], Saying(), stop=3)

    def test_it_runs_no_code(self, place, file):
        class Evil:
            def __reduce__(self):
                return os.mkdir, ("evil",)

        torch.save({"name": file.stem, "parts": Evil()}, file)
        progress = Saying()
        assert walk(each_step(place, Clock(CPU)), [], progress) == [0, 1, 2, 3]
        assert "damaged" in progress.lines[0] and not os.path.exists("evil")

    def test_it_is_removed_at_the_end_and_stays_after_an_interruption(self, place, file):
        checkpoints = each_step(place, Clock(CPU))
        with pytest.raises(KeyboardInterrupt), checkpoints.of("trial-x"):
            raise KeyboardInterrupt
        assert file.exists()
        with checkpoints.of("trial-x"):
            walk(checkpoints, [], Saying())
        assert not file.exists()
        with pytest.raises(ValueError), checkpoints.of("trial-x"):
            walk(checkpoints, [], Saying())
            raise ValueError
        assert not file.exists(), "a failure is an end, too"

    def test_a_full_disk_only_costs_the_checkpoint(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch, "save", lambda *what: (_ for _ in ()).throw(RuntimeError("disk full")))
        progress = Saying()
        assert walk(each_step(Interrupted(tmp_path), Clock(CPU)), [], progress) == [0, 1, 2, 3]
        assert len(progress.lines) == 3 and "no checkpoint was written" in progress.lines[0]
        assert not list((tmp_path / "checkpoints").iterdir())

    def test_what_could_not_be_read_again_is_not_written(self, tmp_path):
        progress, place = Saying(), Interrupted(tmp_path)
        walk(each_step(place, Clock(CPU)), [], progress, history={"mean": np.float64(1)})
        assert "numpy" in progress.lines[0] and not place.written
        assert not list((tmp_path / "checkpoints").iterdir())

    def test_parts_need_a_state(self):
        with pytest.raises(TypeError, match="thing is a object, which has no state_dict"):
            walk(Checkpoints(), [], Saying(), thing=object())


class Watch:
    """A clock that a test sets."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_states_are_written_every_so_many_minutes(tmp_path):
    """10 minutes apart, items of 4 minutes: before the third the time left is 2 minutes, so that it is written."""
    watch, place = Watch(), Interrupted(tmp_path)
    checkpoints = Checkpoints(place, Clock(CPU), "noise-x", minutes=10, now=watch)
    seen = []
    for number in checkpoints.track(range(7), "round", Saying()):
        seen.append((number, len(place.written)))
        watch.seconds += 240
    assert seen == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)]


def test_an_inner_loop_waits_for_the_loop_around_it(tmp_path):
    """What an inner loop keeps is of use only where the outer one comes back to the same item."""
    watch, place = Watch(), Interrupted(tmp_path)
    checkpoints, seen = Checkpoints(place, Clock(CPU), "noise-x", minutes=10, now=watch), []
    for _ in checkpoints.track(range(3), "round", Saying()):
        for _ in checkpoints.track(range(4), "batch", Saying()):
            seen.append(len(place.written))
            watch.seconds += 240
    outer, inner = sorted(set(place.written), key=place.written.index, reverse=True)
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert place.written == [inner, outer, inner, outer, inner]


def test_costs_add_up(tmp_path):
    place, clock = Interrupted(tmp_path), Clock(CPU)
    checkpoints, model = each_step(place, clock), nn.Linear(2, 2)
    clock.add("train", 5.0, 7.0)  # before the loop: spent again when it goes on
    with pytest.raises(KeyboardInterrupt), clock.phase("protect"):
        for number in checkpoints.track(range(4), "round", Saying(), model=model):
            clock.add("prepare", 100.0, 50.0)
            if number == 2:
                raise KeyboardInterrupt
    again = Clock(CPU)
    with again.phase("protect"):
        for _ in each_step(place, again).track(range(4), "round", Saying(), model=model):
            again.add("prepare", 100.0, 50.0)
    assert again.spent("prepare") == (400.0, 200.0) and again.spent("train") == (0.0, 0.0)


def test_writing_is_no_part_of_a_phase():
    clock = Clock(CPU)
    with clock.phase("train"):
        with clock.paused():
            busy = sum(range(2_000_000))
        counted = clock.so_far()["train"]
    assert busy and counted[1] < 0.5 * clock.spent("train")[1] + 0.02


def test_a_loop_around_other_work_keeps_its_name(tmp_path):
    """Work within work, such as a surrogate that a noise needs, has states of its own."""

    def work(place):
        checkpoints, done = each_step(place, Clock(CPU)), []
        for number in checkpoints.track(range(3), "round", Saying(), done=done):
            with checkpoints.of("prepared-y"):
                walk(checkpoints, [], Saying())
            done.append(number)
        return checkpoints.resumed

    resumed, times = in_pieces(tmp_path, work, 4)
    assert times == 2 and resumed == ["round 2"]


def test_two_loops_of_one_name_have_states_of_their_own(tmp_path):
    checkpoints = each_step(Interrupted(tmp_path), Clock(CPU))
    assert walk(checkpoints, []) == walk(checkpoints, []) == [0, 1, 2, 3] and not checkpoints.resumed


def test_slow_writing_makes_states_rare(tmp_path, monkeypatch):
    """After a state that took a minute to write, the next one is due in 20: before the item that would end then."""
    monkeypatch.setattr("ue_bench.checkpoints.SHARE", 20)
    watch, place, seen = Watch(), Interrupted(tmp_path), []
    save = place.save
    monkeypatch.setitem(
        place.__dict__,
        "save",
        lambda name, state: (save(name, state), setattr(watch, "seconds", watch() + 60)),
    )
    checkpoints = Checkpoints(place, Clock(CPU), "noise-x", minutes=5, now=watch)
    for _ in checkpoints.track(range(9), "round", Saying()):
        seen.append(len(place.written))
        watch.seconds += 240
    assert seen == [0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_no_state_is_written_that_a_killed_run_would_not_come_back_to(tmp_path):
    """The second item of the outer loop is long, which could not be known: a killed run would begin it anew."""
    watch, place, seen = Watch(), Interrupted(tmp_path), []
    checkpoints = Checkpoints(place, Clock(CPU), "noise-x", minutes=10, now=watch)
    for _, seconds in zip(checkpoints.track(range(2), "round", Saying()), (1, 300), strict=True):
        for _ in checkpoints.track(range(4), "batch", Saying()):
            seen.append(len(place.written))
            watch.seconds += seconds
    assert seen == [0] * 8


def test_a_resumed_work_remembers_the_most_memory(tmp_path):
    place, clock = Interrupted(tmp_path), Clock(CPU)
    clock.peak_bytes = 10**15
    with pytest.raises(KeyboardInterrupt):
        walk(each_step(place, clock), [], stop=3)
    again = Clock(CPU)
    walk(each_step(place, again), [])
    assert again.peak_bytes == 10**15


def test_what_is_restored_holds_nothing_else(tmp_path):
    place = Interrupted(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        walk(each_step(place, Clock(CPU)), [], stop=3, curves={"loss": [1.0]})
    curves = {"loss": [], "stale": [2.0]}
    walk(each_step(place, Clock(CPU)), [], curves=curves)
    assert curves == {"loss": [1.0]}


def test_writing_a_state_counts_for_no_phase(tmp_path, monkeypatch):
    place, clock, within = Interrupted(tmp_path), Clock(CPU), []
    paused = clock.paused

    @contextlib.contextmanager
    def watched():
        within.append(len(place.written))
        with paused():
            yield
        within.append(len(place.written))

    monkeypatch.setattr(clock, "paused", watched)
    walk(each_step(place, clock), [])
    assert within == [0, 1, 1, 2, 2, 3]
