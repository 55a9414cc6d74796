"""How wide a forecast is: usual, by what was seen, by the machine's load."""

from __future__ import annotations

import os

import pytest

from ue_bench.forecast.prediction import Piece, in_words
from ue_bench.forecast.spread import Spread, look_around, slowdown
from ue_bench.progress import duration_range


def test_a_range_by_what_it_rests_on():
    assert Spread().range(120, "records") == pytest.approx((80, 180))
    assert Spread().range(100, "calibration") == (40, 250)
    assert Spread(least=0.5, most=3.0, slowdown=2.0).range(100, "records") == (50, 600)


def test_a_short_run_has_time_to_start():
    piece = Piece("train", "a", "mine", "", "records", 12.0, 12.0)
    assert in_words([piece]) == "8 to 33 s (records)", "12 / 1.5, and 12 * 1.5 + 15"
    assert in_words([piece], Spread(slowdown=2.0)) == "8 to 66 s (records; the machine is busy)"


def test_a_range_that_says_nothing_is_not_told():
    piece = Piece("train", "a", "mine", "", "records", 600.0, 600.0)
    assert in_words([piece], Spread(slowdown=8.0)) == "7 min to 2.0 h (records; the machine is busy)"
    assert in_words([piece], Spread(slowdown=20.0)) == (
        "at least 7 min (records; the machine is busy; the most cannot be told)"
    )


def test_load_counts_the_threads_that_wait(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0, 0, 0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert slowdown(1) == 5.0, "ten threads on two cores"
    assert slowdown(0) == 1.0, "an accelerator"
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0, 0))
    assert slowdown(1) == 1.0
    assert Spread(slowdown=5.0).reasons() == ["the machine is busy"]


def test_earlier_forecasts_widen_it():
    """One was half of the truth, one four times of it."""
    plans = [
        {"trials": [{"id": name}], "forecast": {"trials": {name: {"train": [seconds, 0.0, "records"]}}}}
        for name, seconds in (("a", 5.0), ("b", 40.0))
    ]
    done = {"status": "done", "seconds": {"train": 10.0}, "device_seconds": {"train": 10.0}, "noise": None}
    records = {name: {"id": name, **done} for name in "ab"}
    spread = look_around(plans, records, 0)
    assert (spread.least, spread.most) == (0.25, 2.0)
    assert spread.reasons() == ["earlier forecasts were off by -75 % to +100 %"]
    assert look_around(plans, {}, 0) == Spread()


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [(40, 70, "40 to 70 s"), (90, 720, "90 s to 12 min"), (181, 190, "3 min"), (8000, 9900, "2.2 to 2.8 h")],
)
def test_two_durations_read_as_one(least, most, words):
    assert duration_range(least, most) == words
