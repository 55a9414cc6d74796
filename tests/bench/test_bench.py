"""``ue-bench bench``: both loops in turns on the same images, figures worked by hand, and mistakes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from conftest import CONTENT

from ue_bench.bench import measuring
from ue_bench.bench.measuring import Measured, Request, measure
from ue_bench.bench.ordinary import OrdinaryLoop, Samples
from ue_bench.bench.table import as_markdown
from ue_bench.bench.together import combined, measure_together
from ue_bench.errors import TrainingError
from ue_bench.registry import Registry
from ue_bench.training.arithmetic import NONE
from ue_bench.trials.environment import Environment

MACHINE = {
    "type": "cpu",
    "name": "Some CPU",
    "threads": 2,
    "processes": 1,
    "cores": 4,
    "torch": "2.6.0",
    "load": 0.25,
}
MADE = Measured(
    "net",
    "bfloat16",
    training=(100.0, 120.0, 110.0),
    ordinary=(50.0, 40.0, 55.0),
    evaluation=(300.0, 300.0, 500.0),
    training_flop=3e6,
    evaluation_flop=1e6,
    peak=1e9,
)


FAILING = """
import os
from dataclasses import dataclass
from torch import nn
from ue_bench import Victim

@dataclass(frozen=True)
class Once(Victim):
    '''One linear layer, in one process.'''

    def build(self, classes, image_size):
        try:
            os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            {what}
        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))
"""


def test_the_page_by_hand():
    """The ratios of the turns are 2, 3 and 2; 110 images of 3 MFLOP a second are 33 % of 1 GFLOP a second."""
    text = as_markdown([MADE], Request(32, 128, 10.0), MACHINE, "ue-bench bench victim=net")
    heading, _, row = (line for line in text.splitlines() if line.startswith("|"))
    cells = dict(
        zip(*([part.strip() for part in line.split("|")[1:-1]] for line in (heading, row)), strict=True)
    )
    assert cells == {
        "victim": "net",
        "pixels": "32",
        "batch": "128",
        "dtype": "bf16",
        "threads": "2",
        "train images/s": "110",
        "ordinary loop": "50",
        "ratio": "2.00 (2.00 to 3.00, 3)",
        "evaluate images/s": "300",
        "MFLOP an image": "3",
        "% of peak": "33",
        "evaluate %": "30",
    }
    assert "Some CPU, 4 cores, 2 threads, torch 2.6.0, bf16 yes, load 0.2 when it began" in text
    assert "bf16 1 GFLOP a second" in text and "`ue-bench bench victim=net`" in text


def test_processes_side_by_side_are_summed_turn_by_turn():
    other = replace(MADE, training=(10.0, 20.0, 30.0), peak=3e9)
    both = combined([MADE, other])
    assert both.training == (110.0, 140.0, 140.0) and both.ordinary == (100.0, 80.0, 110.0)
    assert (both.peak, both.training_flop) == (4e9, 3e6)
    text = as_markdown(
        [both], Request(32, 128, 10.0), {**MACHINE, "processes": 2}, "ue-bench bench workers=2"
    )
    assert "2 processes with 2 threads each" in text and "rates are those of 2 processes at once" in text


def test_two_processes_measure_the_same_turns():
    request, environment = Request(16, 8, 1.0), Environment("", "cpu", (CONTENT,))
    made = measure_together(2, "linear", {}, request, environment, NONE)
    assert 1 <= len(made.training) == len(made.ordinary) == len(made.evaluation) <= 9
    assert made.training_flop == 2 * 2 * 3 * 4 * 4 * 10, "an image's, not two images'"


@pytest.mark.parametrize(
    ("what", "error", "told"),
    [("raise ValueError('its own words')", ValueError, "its own words"),
     ("os.kill(os.getpid(), 9)", TrainingError, "was killed.*smaller batch=")],
)  # fmt: skip
def test_a_process_that_fails_ends_the_others(tmp_path, what, error, told):
    """The victim can be built once: all else fails, and whoever has it would wait for the others at the first turn."""
    plugin = tmp_path / "once.py"
    plugin.write_text(FAILING.format(flag=str(tmp_path / "built"), what=what))
    environment = Environment("", "cpu", (str(plugin),))
    with pytest.raises(error, match=told):
        measure_together(2, "once", {}, Request(16, 8, 1.0), environment, NONE)


def test_one_turn_is_enough_where_three_would_take_too_long(monkeypatch):
    """A turn takes a second and more: processes for images start within it."""
    made = measure("linear", {}, Request(16, 8, 0.001), Environment("", "cpu", (CONTENT,)))
    assert len(made.training) == 1


def test_the_loops_take_turns_on_as_many_images_and_a_victim_is_measured(monkeypatch):
    turns = []
    real, own = OrdinaryLoop.epoch, measuring._own

    def ordinary(self):
        turns.append(("ordinary", len(self.loader.dataset)))
        return real(self)

    def ours(model, data, request, clock):
        turns.append(("own", len(data)))
        own(model, data, request, clock)

    monkeypatch.setattr(OrdinaryLoop, "epoch", ordinary)
    monkeypatch.setattr(measuring, "_own", ours)
    monkeypatch.setattr(measuring, "MOST_BATCHES", 2)
    made = measure("linear", {}, Request(16, 8, 1.0), Environment("", "cpu", (CONTENT,)))
    assert turns[:2] == [("ordinary", 8), ("own", 8)], "warming up"
    begun = (
        3 if turns[2][0] == "ordinary" else 2
    )  # the processes of the ordinary loop are started, if turns are longer
    names, counts = zip(*turns[begun:], strict=True)
    assert names == ("own", "ordinary") * (len(names) // 2) and len(set(counts)) == 1
    assert 3 <= len(made.training) == len(made.ordinary) == len(made.evaluation) <= 9
    assert all(rate > 0 for rate in (*made.training, *made.ordinary, *made.evaluation, made.peak))
    pooled = 3 * 4 * 4  # the linear victim's inputs, for ten classes
    assert (made.training_flop, made.evaluation_flop) == (2 * 2 * pooled * 10, 2 * pooled * 10)


def test_the_ordinary_loop_crops_and_flips_image_by_image():
    data = measuring._images(4, 16)
    image, label = Samples(data)[1]
    assert (
        image.shape == (3, 16, 16) and image.dtype == torch.float32 and 0 <= image.min() <= image.max() <= 1
    )
    assert label == 1
    seen = {tuple(Samples(data)[1][0].flatten().tolist()) for _ in range(20)}
    assert len(seen) > 5


def test_the_command_prints_every_turn_as_json(command, monkeypatch):
    monkeypatch.setattr("ue_bench.bench.command.measure", lambda *what: MADE)
    ended = command("bench", f"plugins={CONTENT}", "victim=[linear]", "seconds=5", "--format", "json")
    assert ended.status == 0, ended.err
    told = json.loads(ended.out)
    assert told["victims"][0]["training"] == [100.0, 120.0, 110.0] and told["machine"]["torch"]
    assert told["request"]["seconds"] == 5 and "[1/1] linear: about 5 s" in ended.err


def test_the_victims_that_are_measured_by_default_exist_and_are_classifiers():
    registry = Registry()
    assert registry.measured()
    for name in registry.measured():
        assert "supervised" in registry.create("victims", name, {}).paradigms


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["victim=resnet_tini"], ["resnet_tini", "did you mean 'resnet_tiny'", "ue-bench list victims"]),
        (["seconds=-1"], ["seconds=-1", "from 1 to 3600", "seconds=90"]),
        (["seconds=soon"], ["seconds=soon", "from 1 to 3600", "seconds=90"]),
        (["size=2"], ["size=", "from 8 to 512", "'2'"]),
        (
            ["victim=clip_tiny"],
            ["clip_tiny is trained on pairs", "image classifiers", "ue-bench list victims"],
        ),
        (["victim={resnet_tiny: 1}"], ["say a name, or several", "ue-bench bench [victim="]),
        (["vgg19.start=own", "victim=resnet_tiny"], ["vgg19.start=", "one of resnet_tiny"]),
        (["victims=resnet_tiny"], ["victims", "did you mean 'victim'"]),
        (["--format", "html"], ["html", "markdown"]),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(command, monkeypatch, words, told):
    monkeypatch.setattr("ue_bench.bench.command.measure", lambda *what: pytest.fail("it measures"))
    ended = command("bench", *words)
    assert ended.status == 2 and not ended.out
    assert all(part in ended.err for part in told), ended.err
    assert "Traceback" not in ended.err
