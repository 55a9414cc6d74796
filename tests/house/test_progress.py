"""What is said while work goes on, and what is foretold."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, Group

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


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_has_one_display_with_the_last_result(width):
    """Bars for trials and epochs, time left, the newest result in one line, whatever the width."""
    shown = io.StringIO()
    bars = Bars(Console(file=shown, force_terminal=True, width=width, highlight=False))
    lines: list[str] = []
    for number in bars.track(range(3), "noises and trials"):
        bars.show(
            f"[{number}/3] em (class), shapes, a victim of a long name, seed 0: 12.5 % [bold] of many words"
        )
        for _ in bars.track(range(30), "epochs"):
            page = Console(file=io.StringIO(), width=width)
            page.print(Group(*bars._live.get_renderables()))
            lines = page.file.getvalue().splitlines()
    assert len(lines) == 3 and all(len(line) <= width for line in lines)
    assert "noises and trials" in lines[0] and "2/3" in lines[0]
    assert "epochs" in lines[1] and "29/30" in lines[1]
    assert lines[2].startswith("[2/3] em (class)")


def test_logs_keep_every_result(capsys):
    Lines().show("[1/3] em: 12.5 %")
    assert capsys.readouterr().err == "[1/3] em: 12.5 %\n"
