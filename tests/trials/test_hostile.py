"""Methods that cheat, break or leak, all in one run beside honest ones: each is found out, and hurts nobody else."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import CONTENT

from ue_bench.cli import main
from ue_bench.conformance import Subject, noise_keeps_its_promises, process_stays_as_it_was
from ue_bench.errors import PerturbationError
from ue_bench.registry import Registry
from ue_bench.trials.environment import Environment

hostile = sys.modules[Registry([CONTENT]).load("methods", "hostile").__module__]
SUITE = {
    "paradigm": "supervised",
    "dataset": ["blobs"],
    "controls": {"clean": "clean", "random": "random"},
    "victim": ["linear"],
    "defense": ["none", "grayscale"],  # the second one's honest trials come after every deed
    "recipe": {"epochs": 2, "batch_size": 16},
    "seeds": 1,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(exit status, records, what was printed) of a run with every deed, and of one without any."""
    top = tmp_path_factory.mktemp("hostile")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # processes that run tests side by side ignore it
    deeds = [{"hostile": {"deed": deed}} for deed in hostile.DEEDS]
    return {
        name: run(top, name, [*(deeds if name == "beside" else []), "fragile"])
        for name in ("beside", "alone")
    }


def run(top: Path, name: str, methods: list) -> tuple[int, list[dict], str]:
    suite = top / f"{name}.yaml"
    suite.write_text(yaml.safe_dump({**SUITE, "method": methods}))
    out = io.StringIO()
    with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(out):
        main(["run", f"suite={name}", f"plugins=[{CONTENT},{suite}]", f"store={top / name}"])
    kept = [json.loads(path.read_text()) for path in sorted((top / name / "trials").glob("*.json"))]
    return end.value.code or 0, kept, out.getvalue()


def of(records: list[dict], deed: str) -> list[dict]:
    return [r for r in records if r["config"]["method"]["parameters"].get("deed") == deed]


def test_honest_rows_read_as_if_nobody_else_had_been_there(runs):
    (status, beside, out), (calm, alone, _) = runs["beside"], runs["alone"]
    assert (status, calm) == (1, 0)
    honest = {r["id"]: (r["metrics"], r["curves"], r["warnings"]) for r in beside if r["method"] != "hostile"}
    assert honest == {r["id"]: (r["metrics"], r["curves"], r["warnings"]) for r in alone}
    assert len(honest) == 6, "three arms under two defenses"
    assert "owned" not in out and "fragile" in out, "what a method prints is no part of the table"


@pytest.mark.parametrize("deed", hostile.FAILING)
def test_a_deed_that_fails_fails_alone_and_says_why(runs, deed):
    records = of(runs["beside"][1], deed)
    assert [r["status"] for r in records] == ["failed"] * 2
    for record in records:
        assert hostile.FAILING[deed][1] in record["error"]["message"]
        assert len(record["error"]["message"]) < 3000


@pytest.mark.parametrize("deed", hostile.LEAKING)
def test_a_deed_that_leaks_is_set_back_and_named(runs, deed):
    told = hostile.LEAKING[deed][1]
    for record in of(runs["beside"][1], deed):
        assert record["status"] == "done", record["error"]
        assert told in " ".join(record["warnings"]) if told else not record["warnings"]
        assert not told.startswith("torch") or "hostile changed" in record["warnings"][0]


@pytest.mark.parametrize(
    ("deed", "promise", "said"),
    [
        ("more than promised", noise_keeps_its_promises, "over its budget of 8"),
        ("without bounds", noise_keeps_its_promises, "over its budget of 8"),
        ("threads", process_stays_as_it_was, "torch's number of threads"),
        ("another folder", process_stays_as_it_was, "the working folder"),
    ],
)
def test_check_finds_it_before_any_run(deed, promise, said):
    subject = Subject(
        "hostile", Registry([CONTENT]).create("methods", "hostile", {"deed": deed}), Environment("")
    )
    with pytest.raises((AssertionError, PerturbationError), match=said):
        promise(subject)


def test_an_error_of_several_lines_is_one_line_on_the_terminal(command):
    ended = command("run", "suite=toy", "method=hostile", "hostile.deed=several lines")
    assert ended.status == 1 and "FAILED: ValueError: one # two \\x1b[2Jthree" in ended.err
    assert "# two" not in [line[:5] for line in ended.err.splitlines()]


LEAVING = """from __future__ import annotations
import sys
from dataclasses import dataclass
import torch
from ue_bench import Method
{top}

@dataclass(frozen=True)
class Leaving(Method):
    def __post_init__(self):
        {post}

    def protect(self, view, context):
        pass
"""


@pytest.mark.parametrize(
    ("top", "post", "status", "said"),
    [
        ("sys.exit(0)", "pass", 2, "cannot be imported: SystemExit: 0"),
        ("", "sys.exit(0)", 2, "while the run was planned, content raised SystemExit(0) in "),
        ("torch.set_num_threads(7)", "pass", 1, "changed torch's number of threads, and this was undone"),
    ],
)
def test_a_plug_in_that_leaves_or_leaks_while_it_is_loaded(command, tmp_path, top, post, status, said):
    name = f"leaving_{abs(hash((top, post)))}"  # modules of one name are imported once
    path = tmp_path / f"{name}.py"
    path.write_text(LEAVING.format(top=top, post=post))
    threads = torch.get_num_threads()
    ended = command("run", "suite=toy", f"method={name}", f"plugins=[{CONTENT},{path}]")
    assert ended.status == status and said in ended.err
    assert torch.get_num_threads() == threads
