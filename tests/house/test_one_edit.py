"""A metric and a format of reports are one edit in one file each: the edit is made in a copy of the harness."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from paired import described, small_clip

from ue_bench import measures
from ue_bench.measures import MEASURES, Measure, measure_more
from ue_bench.training.contrastive import ContrastiveCurves, Gallery

TESTS = Path(__file__).parents[1]
METRIC = """    Measure(
        "classes_shown", "classes shown", unit="classes", paradigms=("supervised",), decimals=0,
        of=lambda logits, labels: len(labels.unique()),
    ),
"""
FORMAT = """    "counted": lambda reports, view: f"{len(reports[0].rows)} rows\\n",
"""


def insert(path: Path, before: str, lines: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, lines + before))


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """(words) -> what the command line of a harness with one more metric and one more format prints."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(TESTS.parent / "ue_bench", folder / "ue_bench")
    insert(folder / "ue_bench" / "measures.py", '    Measure("train_accuracy_last"', METRIC)
    insert(folder / "ue_bench" / "report" / "formats.py", '    "terminal": _each(as_terminal)', FORMAT)
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])

    def call(*words: str) -> str:
        program = "import sys; from ue_bench.cli import main; main(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", program, *words, f"store={folder / 'store'}"],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_a_metric_is_measured_and_shown_and_a_format_printed(edited):
    """Blobs have four classes, whatever a victim learns."""
    words = [
        f"plugins={TESTS / 'content'}",
        "suite=toy",
        "method=[]",
        "table.metrics=[classes_shown,accuracy_last]",
    ]
    rows = csv.DictReader(io.StringIO(edited("run", *words, "--format", "csv")))
    (told,) = [row for row in rows if (row["method"], row["metric"]) == ("clean", "classes_shown")]
    assert float(told["mean"]) == 4
    assert edited("report", "--format", "counted") == "2 rows\n"


def test_a_contrastive_metric_has_its_best_epoch_and_mean_as_well(monkeypatch):
    seen = []

    def told(images, texts, image_of_text):
        seen.append((tuple(images.shape), tuple(texts.shape), image_of_text.tolist()))
        return len(seen)

    more = Measure("told", "told", paradigms=("contrastive",), of=told)
    monkeypatch.setattr(measures, "_ALL", (*MEASURES.values(), more))
    towers, curves = small_clip(), ContrastiveCurves(train_accuracy=[1.0])
    gallery = Gallery(described(4), towers)
    for _ in range(3):
        curves.add(gallery.search(towers, torch.device("cpu")))
    found = curves.metrics()
    assert (found["told"], found["mean5"]["told"]) == (3.0, 2.5)  # the untrained victim's 1 is left out
    assert found["best"]["told"] == 2.0  # all epochs are equal, so the first is the best
    assert seen[0] == ((4, 32), (8, 32), [0, 0, 1, 1, 2, 2, 3, 3])
    assert measure_more("supervised", None, None) == {}
