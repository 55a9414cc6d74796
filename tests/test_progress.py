"""What is said while work goes on, and what is foretold."""

from __future__ import annotations

import pytest

from ue_bench.progress import Bars, Counted, Lines, Progress, describe
from ue_bench.trials.forecast import duration, forecast
from ue_bench.trials.trial import Choice, Trial


@pytest.mark.parametrize("make", [Progress, lambda: Lines(every=0), Bars])
def test_everything_passes_through_nested_loops(make):
    progress = make()
    seen = [
        (outer, inner)
        for outer in progress.track(Counted(iter("ab"), 2), "outer")
        for inner in progress.track(range(3), "inner")
    ]
    assert seen == [(outer, inner) for outer in "ab" for inner in range(3)]
    assert list(progress.track((number for number in range(3)), "unknown length")) == [0, 1, 2]


def test_lines_tell_how_far_and_how_long(capsys):
    list(Lines(every=0).track(range(3), "epoch"))
    assert capsys.readouterr().err.splitlines()[2].startswith("    epoch 2 of 3, ")
    assert describe(10, 30, 20) == " of 30, 40 s left"
    assert [duration(seconds) for seconds in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]


def make_trial(method: str, seed: int, epochs: int = 10) -> Trial:
    victim, none = Choice("v", {}), Choice("none", {})
    recipe = {"epochs": epochs, "batch_size": 8}
    return Trial(
        "supervised", Choice("d", {}), 32, "f", "g", Choice(method, {}), victim, none, recipe, 1.0, seed
    )


def test_time_is_foretold_from_records_by_hand():
    trial = make_trial("m", 0)
    seconds = {"prepare": 0, "protect": 7.0, "train": 18.0, "evaluate": 2.0}
    record = {"status": "done", "config": trial.config(), "seconds": seconds}
    todo = [make_trial("m", 1), make_trial("m", 2, epochs=5), make_trial("m", 2, epochs=20)]
    assert forecast(todo, [record]) == pytest.approx(20 + 10 + 40 + 2 * 7)  # two noises: seeds 1 and 2
    assert forecast([make_trial("other", 0)], [record]) is None, "an unknown method's cost is not invented"
    assert forecast(todo, []) is None
