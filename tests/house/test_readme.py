"""What the README says, done."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (TOP / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (TOP / ".ci" / "run").read_text()


def test_the_method_of_the_readme_is_complete(command, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "corners.py"
    path.write_text(code)
    checked = command("check", str(path))
    assert checked.status == 0, checked.out
    ran = command("run", "suite=toy", f"plugins=[{path},{TOP / 'tests' / 'content'}]", "method=[corners]")
    assert ran.status == 0 and "corners" in ran.out


@pytest.mark.parametrize(
    "line", re.findall(r"^    (ue-bench (?:run|show|list|report) .*)$", README, re.MULTILINE)
)
def test_every_command_line_is_understood(line):
    """Names and keys exist; nothing is run."""
    from ue_bench.config import compose, parse_words, read_suite
    from ue_bench.registry import Registry

    words = line.split("#")[0].split()[1:]
    registry = Registry()
    if words[0] == "show":
        registry.find(f"{words[1]}s", words[2])
    elif words[0] == "run":
        given = parse_words(word for word in words[1:] if "=" in word and "corners" not in word)
        names = [
            name for kind in ("methods", "victims", "datasets", "defenses") for name in registry.names(kind)
        ]
        config = compose(
            given["suite"], read_suite(registry.find("suites", given["suite"]).path), given, names
        )
        for kind in ("method", "victim", "dataset"):
            for word in getattr(config, kind):
                registry.find(f"{kind}s", word if isinstance(word, str) else next(iter(word)))


def test_the_quickstart_finishes_in_its_smallest_profile(command):
    ended = command("run", "suite=quickstart", "profile=smoke")
    assert ended.status == 0, ended.err
    assert "| clean" in ended.out and "| random" in ended.out and "How this was made" in ended.out


def test_the_wheel_holds_suites_and_published_numbers(tmp_path):
    source = tmp_path / "source"
    subprocess.run(["git", "-C", str(TOP), "checkout-index", "-a", f"--prefix={source}/"], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "ue_bench/cli.py",
        "ue_bench/templates/method.py.txt",
        "ue_bench_methods/random.py",
        "ue_bench_victims/resnet18.py",
        "ue_bench_suites/quickstart.yaml",
        "ue_bench_results/published.csv",
    ):
        assert name in names, name
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "ue_bench",
        "ue_bench_methods",
        "ue_bench_victims",
        "ue_bench_suites",
        "ue_bench_results",
    }
