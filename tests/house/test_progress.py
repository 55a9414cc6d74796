"""What is said while work goes on, and what is foretold."""

from __future__ import annotations

import pytest

from ue_bench.progress import Bars, Counted, Lines, Progress, describe, duration


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
