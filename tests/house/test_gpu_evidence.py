"""The script for machines with a GPU, tried without one: its order, its time, what fails, where it goes on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from ue_bench_results import gpu_evidence
from ue_bench_results.gpu_evidence import Step, carry_out, main, steps

STORE = Path("store")


def python(name: str, code: str, once: bool = True) -> Step:
    return Step(name, [sys.executable, "-c", code], once)


@pytest.fixture
def with_steps(monkeypatch, tmp_path):
    """(steps) -> (exit status, summary) of the script with these steps in place of its own."""
    monkeypatch.setattr(gpu_evidence, "_told", lambda words, fenced=False: f"what {words[0]} says")

    def call(*found: Step, minutes: float = 5.0):
        monkeypatch.setattr(gpu_evidence, "steps", lambda *_: list(found))
        status = main([f"minutes={minutes}", "device=cpu", "profile=smoke", f"out={tmp_path}"])
        return status, (tmp_path / "summary.md").read_text()

    return call


def test_small_tables_come_first_and_tests_before_them():
    names = [step.name for step in steps("cuda", "paper", STORE) if step.name != "speed"]
    assert names[:3] == ["tests", "images, one seed", "pairs, one seed"] and "images, all rows" in names
    small = [step for step in steps("cpu", "smoke", STORE) if step.name != "speed"]
    assert [step.name for step in small] == names[:3]
    assert any("test_graphs" in word for word in small[0].command), "the tests that need a GPU are found"
    assert "dataset=cifar10" in steps("cuda", "paper", STORE)[-2].command


def test_a_failure_does_not_stop_the_next_and_is_the_exit_status(with_steps):
    status, text = with_steps(
        python("first", "raise SystemExit('no | luck')"), python("second", "print('all well')")
    )
    assert status == 1
    assert "| first | failed with status 1, " in text and "no / luck |" in text
    assert "| second | done, " in text and "all well |" in text and "what report says" in text


def test_what_ended_well_is_not_repeated_and_what_failed_is(with_steps, tmp_path):
    code = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text() + 'x')"
    for name in ("fine", "broken"):
        (tmp_path / name).write_text("")
    fine = Step("fine step", [sys.executable, "-c", code, str(tmp_path / "fine")], once=True)
    broken = Step(
        "broken step", [sys.executable, "-c", f"{code}; sys.exit(3)", str(tmp_path / "broken")], once=True
    )
    with_steps(fine, broken)
    status, text = with_steps(fine, broken)
    assert status == 1 and "| fine step | done before, at this commit |" in text
    assert (tmp_path / "fine").read_text() == "x" and (tmp_path / "broken").read_text() == "xx"


def test_time_ends_a_step_and_those_after_it(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_evidence, "LEAST", 0.5)
    end = time.monotonic() + 1.0
    told = carry_out(python("slow", "import time; time.sleep(60)"), tmp_path, end)
    assert "time is up" in told and time.monotonic() < end + 20
    assert carry_out(python("late", ""), tmp_path, end) == "not begun: no time left"


def test_runs_are_told_when_to_end(tmp_path):
    step = python("run", "import sys; print(sys.argv[1])", once=False)
    told = carry_out(step, tmp_path, time.monotonic() + 600)
    seconds = int(told.rpartition("stop_after=")[2].removesuffix("s"))
    assert 600 - gpu_evidence.MARGIN - 30 <= seconds <= 600 - gpu_evidence.MARGIN


@pytest.mark.parametrize(
    "words", [["minutes=soon"], [], ["minutes=1", "device=tpu"], ["minutes=1", "profile=big"]]
)
def test_mistakes_end_with_status_2(words, capsys):
    assert main(words) == 2
    assert "minutes=240" in capsys.readouterr().err


def test_a_real_step_on_the_stand_in(monkeypatch, tmp_path):
    """The runs of the smoke profile, in their smallest form, with records and the table."""
    monkeypatch.setattr(gpu_evidence, "IMAGES", "[synper]")
    real = gpu_evidence.steps
    monkeypatch.setattr(
        gpu_evidence, "steps", lambda *given: [each for each in real(*given) if "images" in each.name]
    )
    assert main(["minutes=30", "device=cpu", "profile=smoke", f"out={tmp_path}"]) == 0
    text = (tmp_path / "summary.md").read_text()
    assert (
        "| images, one seed | done, " in text
        and "synper" in text
        and "No table of clip_retrieval yet." in text
    )
    assert len(list((tmp_path / "store" / "trials").glob("*.json"))) == 3
