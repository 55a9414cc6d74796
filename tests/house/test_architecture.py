"""The house: one direction of imports, no content named in the harness, small files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ue_bench.registry import Registry

TOP = Path(__file__).parents[2]
HARNESS = sorted((TOP / "ue_bench").rglob("*.py"))
OURS = ("methods", "victims", "suites", "tests")
FLOORS = [  # from the ground; a module may import its own floor and those below
    {
        *(
            "errors",
            "bounds",
            "words",
            "text",
            "seeds",
            "canonical",
            "clock",
            "metrics",
            "process",
            "retrieval",
        ),
        *("progress", "measures", "dimensions"),
    },
    {"config", "reading", "registry", "sources", "composition", "floors", "parameters", "data"},
    {
        "contracts.budget",
        "contracts.perturbation",
        "contracts.content",
        "provenance",
        "trials.trial",
        "trials.store",
    },
    {
        "contracts",
        "training",
        "configure",
        "trials.artefacts",
        "trials.poison",
        "trials.paradigms",
        "defenses",
    },
    {"crafting", "trials.environment", "trials.overlap", "trials.plan", "trials.executors"}
    | {"trials.agreement", "trials.arms", "trials.guard", "trials.noise"},
    {
        *("trials.protect", "trials.evaluate", "forecast"),
        *("publish", "report", "gallery", "overview", "explain", "conformance", "describe", "scaffold"),
    },
    {"trials.run"},
    {"cli"},
]


def imports(path: Path) -> set[str]:
    """Absolute names of what a file imports at its top, except under TYPE_CHECKING."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def floor(module: str) -> int:
    """The floor of ``trials.store`` or ``data.cache``: the longest name that is listed."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for number, rooms in enumerate(FLOORS):
            if name in rooms:
                return number
    raise AssertionError(f"{module} is on no floor: add it to FLOORS")


def test_the_harness_imports_no_content():
    for path in HARNESS:
        for name in imports(path):
            assert not name.startswith(("ue_bench_", *(f"{folder}." for folder in OURS))), f"{path}: {name}"


def test_low_floors_know_nothing_of_high_ones():
    """Datasets and defenses are content: they stand on the contracts wherever they lie."""
    for path in HARNESS:
        module = ".".join(path.relative_to(TOP / "ue_bench").with_suffix("").parts).removesuffix(".__init__")
        if module in ("__init__", "") or module.startswith(("datasets", "defenses")):
            continue
        for name in imports(path):
            if name.startswith("ue_bench."):
                other = name.removeprefix("ue_bench.")
                if module.startswith("data.") and other == "contracts.dataset":
                    continue  # the contract that datasets and their cache meet at
                assert floor(other) <= floor(module), f"{module} must not import {other}"


def test_content_stands_on_contracts_and_crafting_only():
    allowed = ("ue_bench", *(f"ue_bench.{room}" for room in ("crafting", "contracts", "training", "data")))
    allowed += ("ue_bench.errors", "ue_bench.seeds")
    for folder in ("methods", "victims"):
        for path in (TOP / folder).glob("*.py"):
            for name in imports(path):
                if name.split(".")[0] == "ue_bench":
                    assert name.startswith(allowed[1:]) or name == "ue_bench", f"{path.name}: {name}"


@pytest.mark.parametrize("kind", ["methods", "victims", "suites"])
def test_no_content_is_named_in_the_harness(kind):
    """Trap T12. Words of the language that happen to be names are excepted by hand."""
    common = {"clean", "random", "supervised", "contrastive"}  # also roles of controls, and paradigms
    common |= {"timm", "clip", "poison_ratio", "file"}  # a library, a kind of model, a key of trials, a word
    names = [name for name in Registry().names(kind) if name not in common]
    pattern = re.compile("""["'](""" + "|".join(map(re.escape, names)) + """)["']""")
    for path in HARNESS:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if pattern.search(line) and not line.lstrip().startswith(("#", "*")) and "``" not in line:
                raise AssertionError(f"{path.relative_to(TOP)}:{number} names content: {line.strip()}")


def test_only_public_functions_of_the_model_libraries():
    """Trap T13: internals move."""
    public = {"create_model", "list_models", "get_tokenizer", "list_pretrained", "models.load_state_dict"}
    for folder in ("ue_bench", "methods", "victims"):
        for path in (TOP / folder).rglob("*.py"):
            for name in imports(path):
                if name.split(".")[0] in ("timm", "open_clip"):
                    assert name in ("timm", "open_clip"), f"{path.name} imports {name}"
            for attribute in re.findall(r"\b(?:timm|open_clip)\.((?:models\.)?\w+)", path.read_text()):
                assert attribute in public, attribute


def test_files_stay_small():
    for folder in ("ue_bench", "methods", "victims", "tests"):
        for path in (TOP / folder).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 400, f"{path.relative_to(TOP)} has {lines} lines: two rooms share a door"


def test_nothing_is_pickled():
    for path in HARNESS:
        if path.name != "conformance.py":  # which checks that content survives it
            assert "pickle" not in imports(path) and not re.search(
                r"(?<![.\w])torch\.load\(", path.read_text()
            ), path
