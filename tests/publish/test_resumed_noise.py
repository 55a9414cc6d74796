"""``ue-bench noise`` that is killed in the middle and run again: it goes on, and the noise is equal to the bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from ue_bench.publish.commands import noise_command
from ue_bench.publish.noise import read_noise
from ue_bench.trials.states import States

STEPPING = '''"""Noise in steps."""

from dataclasses import dataclass

import torch

from ue_bench import Access, Budget, Method, Perturbation


@dataclass(frozen=True)
class Stepping(Method):
    """Prepares a pattern in four steps, and then adds to the noise in four rounds."""

    budget: Budget = Budget("linf", 8)
    granularity: str = "image"
    access = Access.CAPTIONS
    paradigms = frozenset({"contrastive"})

    def prepare(self, context):
        pattern = torch.zeros(3, 8, 8)
        for _ in context.resumable(range(4), "step", pattern=pattern, draw=context.generator):
            pattern += torch.rand(3, 8, 8, generator=context.generator)
        return {"pattern": pattern}

    def protect(self, view, context):
        delta = context.prepared["pattern"].expand(len(view), -1, -1, -1).clone()
        for _ in context.resumable(range(4), "round", delta=delta):
            delta += torch.randn(delta.shape)  # from the state that all libraries share
        noise = (delta * 10).remainder(17).sub(8).to(torch.int8)
        return Perturbation(noise, view.rows("image"), self.budget)
'''


@pytest.fixture
def make(tmp_path, monkeypatch):
    """(out, words) -> the noise of the method above, with a state between any two steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ue_bench.checkpoints.SHARE", 0)
    (tmp_path / "captions.csv").write_text("image,caption\na.png,a dog\nb.png,a cat\n")
    (tmp_path / "stepping.py").write_text(STEPPING)

    def call(out: str, *words: str):
        line = [
            "method=stepping",
            "captions=captions.csv",
            "size=8",
            "plugins=stepping.py",
            f"store=of-{out}",
        ]
        noise_command([*line, f"out={out}.safetensors", "checkpoint_minutes=1e-9", *words])
        return read_noise(tmp_path / f"{out}.safetensors")

    return call


def killed_after(states: int, make, out: str) -> None:
    """Makes noise in a process that is killed when so many states have been written."""

    def work() -> None:
        save, written = States.save, []

        def watched(self, name, state):
            save(self, name, state)
            written.append(name)
            if len(written) == states:
                os.kill(os.getpid(), signal.SIGKILL)

        States.save = watched
        make(out)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not Path(f"{out}.safetensors").exists()


def states(out: str) -> list[str]:
    return [path.name.partition("-")[0] for path in Path(f"of-{out}", "checkpoints").glob("*.pt")]


def test_killed_in_any_part_it_goes_on_and_finds_the_same(make, capsys):
    whole = make("whole")
    assert "resumed" not in whole.facts and not states("whole")
    for written, kind, places in (
        (2, "prepared", ["step 2"]),
        (4, "noise", ["round 1"]),
        (6, "noise", ["round 3"]),
    ):
        out = f"after-{written}"
        killed_after(written, make, out)
        assert states(out) == [kind]
        found = make(out)
        assert torch.equal(found.noise, whole.noise)
        assert found.facts["resumed"] == places and f"continues after {places[0]}" in capsys.readouterr().err
        assert not states(out), "removed at the end"


def test_killed_twice_and_with_a_damaged_state_it_finds_the_same(make, capsys):
    killed_after(1, make, "n")
    killed_after(1, make, "n")
    (state,) = Path("of-n", "checkpoints").glob("*.pt")
    state.write_bytes(state.read_bytes()[:100])
    found = make("n")
    said = capsys.readouterr().err
    assert state.name in said and "damaged" in said and "starts from the beginning" in said
    assert torch.equal(found.noise, make("whole").noise) and not states("n")


def test_other_settings_are_other_work(make):
    killed_after(2, make, "n")
    assert "resumed" not in make("n", "seed=1").facts
    assert states("n") == ["prepared"], "the first one may still be asked for"
