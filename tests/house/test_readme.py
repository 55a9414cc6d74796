"""What the README says, done."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fakes import encode, pixels, write_folder, write_pair

import ue_bench
from ue_bench.api.settings import as_words
from ue_bench.cli import main
from ue_bench.configure import configure

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_are_targets_of_the_makefile():
    makefile = (TOP / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (TOP / ".ci" / "run").read_text()


def test_the_method_of_the_readme_is_complete(command, tmp_path):
    (code,) = (block for block in BLOCKS if "class Corners" in block)
    path = tmp_path / "corners.py"
    path.write_text(code)
    checked = command("check", str(path))
    assert checked.status == 0, checked.out
    ran = command("run", "suite=toy", f"plugins=[{path},{TOP / 'tests' / 'content'}]", "method=[corners]")
    assert ran.status == 0 and "corners" in ran.out


def test_the_python_of_the_readme_does_what_it_says_at_a_small_size(tmp_path, monkeypatch):
    small = {"profile": "smoke", "device": "cpu"}
    images, labels = (
        np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8),
        np.arange(12) % 3,
    )
    protect, run, store = ue_bench.protect, ue_bench.run, tmp_path / "runs"

    def run_small(suite, **settings):
        configure(as_words({"suite": suite, **settings}))  # every name and key exists
        return run("quickstart", profile="smoke", method="synper", seeds=1, store=store)

    def protect_small(*given, **settings):
        return protect(*given, **{**settings, **small, "surrogate": "resnet_tiny", "store": store})

    monkeypatch.setattr(ue_bench, "protect", protect_small)
    monkeypatch.setattr(ue_bench, "run", run_small)
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in BLOCKS if "ue_bench.protect" in block)
    names = {"images": images, "labels": labels}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # em at this size stops at its cap
        exec(code, names)
    assert (
        names["protected"].shape == images.shape and len(names["frame"]) == len(names["result"].records) == 3
    )


def lines() -> list[str]:
    """Every command line of the README and of the pages for those who run suites."""
    pages = [(TOP / "docs" / f"{name}.md").read_text() for name in ("running", "data", "many_machines")]
    text = "\n".join([README, *pages])
    found = re.findall(r"^    (ue-bench [^\n#>]*?) *(?:[#>].*)?$", text, re.MULTILINE)
    return list(dict.fromkeys(line for line in found if "NAME" not in line))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the command lines name: a run, noise, pictures with captions, the README's method."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        quickly = ["profile=smoke", "method=[random]", "victim=resnet_tiny", "seeds=1", "--no-calibrate"]
        for suite in ("quickstart", "supervised", "supervised_transfer", "poison_ratio"):
            with pytest.raises(SystemExit) as end:
                main(["run", f"suite={suite}", *quickly])
            assert not end.value.code
        (code,) = re.findall(r"```python\n([^`]*class Corners.*?)```", README, re.DOTALL)
        Path("corners.py").write_text(code)
        np.savez("noise.npz", np.random.default_rng(0).integers(-8, 9, (10, 3, 32, 32), dtype=np.int8))
        write_folder(Path("DIR"))
        Path("FOLDER").mkdir()
        Path("FOLDER/a.png").write_bytes(encode(pixels()))
        Path("captions.csv").write_text("image,caption\na.png,a dog on a beach\n")
        write_pair(Path("PARQUET"))
        rows = [f"DIR/{part}/cat/{i}.png,cat {i},{part}" for part in ("train", "test") for i in (0, 1)]
        Path("pairs.csv").write_text("\n".join(["image,caption,split", *rows]) + "\n")
        with pytest.raises(SystemExit):
            main(["noise", "method=random", "captions=captions.csv", "size=32", "out=noise.safetensors"])
    return folder


NEEDS = {
    "dataset=cifar10": "",
    "profile=paper": "profile=smoke",
    "profile=laptop": "profile=smoke",
    "store=/shared/runs": "store=runs",
}


@pytest.mark.parametrize("line", lines())
def test_every_command_line_does_what_it_says(line, home, monkeypatch, capsys):
    """On drawn pictures instead of the papers' data, on this device; runs are planned and not carried out."""
    if "executor=ray" in line:
        pytest.importorskip("ray")
    monkeypatch.chdir(home)
    words = [changed for word in shlex.split(line)[1:] if (changed := NEEDS.get(word, word))]
    words = [word for word in words if word != "device=cuda"]
    key = next(iter(sorted(path.stem for path in (home / "runs" / "trials").iterdir())))
    words = [
        word.replace("trial=ID", f"trial={key}").replace("out=FOLDER", f"out={words[0]}") for word in words
    ]
    if "parquet.path=DIR" in words:
        words = [word.replace("DIR", "PARQUET") for word in words]
    if words[0] in ("run", "cost"):
        words += [] if any(word.startswith("profile=") for word in words) else ["profile=smoke"]
        words += ["--no-calibrate"] if "--no-calibrate" not in words else []
    if words[0] == "run" and "--dry-run" not in words:
        words.append("--dry-run")
    if words[0] == "noise":
        words = [word.replace("out=noise", "out=other") for word in words]
    if words[0] == "explain":
        words = [*words[:1], "trial=none-such"]  # tests/explain draws
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    if words[0] == "explain":
        assert end.value.code == 2 and "none-such" in said.err
    elif words[0] == "noise":
        assert end.value.code == 2 and "profile=quick" in said.err, "no generator is there: it tells the ways"
    else:
        assert not end.value.code, said.err
        assert said.out or "wrote " in said.err


def test_there_are_commands_of_every_kind():
    kinds = {line.split()[1] for line in lines()}
    wanted = "run report cost list show explain noise apply export check status slurm"
    assert kinds >= set(wanted.split())


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
        "ue_bench/cli/runs.py",
        "ue_bench/templates/method.py.txt",
        "ue_bench_methods/random.py",
        "ue_bench_victims/resnet18.py",
        "ue_bench_suites/quickstart.yaml",
        "ue_bench_results/published.csv",
        "ue_bench_results/field.csv",
    ):
        assert name in names, name
    web = source / "ue_bench" / "report" / "web" / "templates"
    assert {path.name for path in web.iterdir()} >= {"page.jinja", "page.css", "page.js"}
    assert {f"ue_bench/report/web/templates/{path.name}" for path in web.iterdir()} <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "ue_bench",
        "ue_bench_methods",
        "ue_bench_victims",
        "ue_bench_suites",
        "ue_bench_results",
    }
