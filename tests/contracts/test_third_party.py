"""A package of somebody else: installed beside ue-bench, used from the command line, this repository untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "their-noise"
version = "1.0"
[project.entry-points."ue_bench.plugins"]
theirs = "their_noise"
[tool.setuptools]
packages = ["their_noise", "their_noise.parts"]
[tool.setuptools.package-data]
their_noise = ["*.yaml"]
"""
FILES = {
    "__init__.py": "",
    "parts/__init__.py": "",
    "parts/_base.py": "raise RuntimeError('private modules are not content')",
    "stripes.py": '''
"""Stripes."""
from __future__ import annotations
from dataclasses import dataclass
import torch
from ue_bench import Access, Method, Perturbation

@dataclass(frozen=True)
class Stripes(Method):
    """Stripes (us, 2026): a stripe pattern for each class."""
    granularity: str = "class"  # one noise a class
    access = Access.LABELS
    granularities = ("class",)

    def protect(self, view, context):
        rows = view.rows("class")
        signs = torch.randint(0, 2, (int(rows.max()) + 1, 3, view.image_size[0], 1), generator=context.generator)
        noise = (signs * 2 - 1).expand(-1, -1, -1, view.image_size[1]) * int(self.budget.radius)
        return Perturbation(noise.to(torch.int8).contiguous(), rows, self.budget)
''',
    "parts/pooled.py": '''
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
from ue_bench import Victim

@dataclass(frozen=True)
class Pooled(Victim):
    """A linear model on pooled pixels."""
    side: int = 4  # cells
    def build(self, classes, image_size):
        return nn.Sequential(nn.AdaptiveAvgPool2d(self.side), nn.Flatten(), nn.Linear(3 * self.side**2, classes))
''',
    "mirrored.py": '''
from __future__ import annotations
from dataclasses import dataclass
from ue_bench import Defense

@dataclass(frozen=True)
class Mirrored(Defense):
    """Upside down."""
    def images_once(self, images):
        return images.flip(2)
''',
    "broken.py": "def f(:\n",
    "their_suite.yaml": """# Their suite
dataset: [digits]
controls: {clean: clean, random: random}
method: [stripes]
victim: [pooled]
defense: [none, mirrored]
recipe: {epochs: 1}
seeds: 1
""",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with their package installed in it."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PROJECT)
    for name, text in FILES.items():
        path = source / "their_noise" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-compile",
    ]
    subprocess.run([*install, "--target", str(site), str(source)], check=True)
    return site


def ue_bench(site: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", "from ue_bench.cli import main; main()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_their_content_is_listed_and_their_broken_file_too(site):
    listed = ue_bench(site, "list").stdout
    for name in ("stripes", "pooled", "mirrored", "their_suite"):
        assert f"  {name}" in listed
    assert "broken  SyntaxError" in listed
    assert "their_noise" not in ue_bench(Path("nowhere"), "list").stdout


def test_their_suite_runs_with_their_method_victim_and_defense(site, tmp_path):
    ended = ue_bench(site, "run", "suite=their_suite", f"store={tmp_path}", "pooled.side=2")
    assert ended.returncode == 0, ended.stderr
    assert "stripes" in ended.stdout and "mirrored" in ended.stdout
    assert len(list((tmp_path / "trials").iterdir())) == 6


@pytest.mark.parametrize("name", ["stripes", "pooled", "mirrored"])
def test_their_content_passes_the_conformance_suite(site, name):
    ended = ue_bench(site, "check", name)
    assert ended.returncode == 0 and "0 failed" in ended.stdout, ended.stdout + ended.stderr


def test_our_suites_take_their_names(site, tmp_path):
    words = ["suite=quickstart", "profile=smoke", "method=stripes", "victim=pooled", "defense=mirrored"]
    ended = ue_bench(site, "run", *words, f"store={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    assert "stripes" in ended.stdout
