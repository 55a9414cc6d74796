"""Methods that cheat, break or leak, all in one run beside honest ones: each is found out, and hurts nobody else."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
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
