"""The house: one direction of imports, no content named in the harness, small files."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest
from rooms import AUTHORS, FLOORS, GRAPH, MODULES, PICTURE, TOP, draw, floor, imports, inside, room

from ue_bench.registry import Registry

HARNESS = sorted((TOP / "ue_bench").rglob("*.py"))


def test_the_picture_of_the_rooms_is_current():
    assert PICTURE.read_text() == draw(), "python tests/house/rooms.py draws it anew"


def test_the_layout_names_every_room():
    layout = (TOP / "docs" / "design.md").read_text().partition("## Layout")[2].partition("Seven floors")[0]
    rooms = {path.stem for path in (TOP / "ue_bench").iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__", "__pycache__", "templates"}
    assert rooms <= set(re.findall(r"\w+", layout)), rooms - set(re.findall(r"\w+", layout))


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()  # CycleError names the circle


def test_imports_go_down():
    climbing = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if module.startswith("ue_bench.") and other.startswith("ue_bench.") and floor(other) > floor(module)
    ]
    assert not climbing, climbing
    assert len(FLOORS) <= 7


def test_the_harness_imports_no_content():
    for module, others in GRAPH.items():
        if not inside(module, "datasets", "defenses") and module.split(".")[0] == "ue_bench":
            found = [other for other in others if not other.startswith("ue_bench.") and other != "ue_bench"]
            found += [other for other in others if inside(other, "datasets", "defenses")]
            assert not found, f"{module} imports content: {found}"


def test_content_stands_on_what_its_contracts_need():
    for module, others in GRAPH.items():
        package = module.split(".")[0]
        if package != "ue_bench" or inside(module, "datasets", "defenses"):
            for other in others:
                own = room(other) == room(module) if package == "ue_bench" else other.split(".")[0] == package
                assert own or inside(other, *AUTHORS), f"{module} must not import {other}"


@pytest.mark.parametrize(
    ("rooms", "others"),
    [
        (["contracts"], ["registry", "composition", "data.cache"]),
        (["trials"], ["report", "forecast", "publish", "explain"]),
        (["report"], ["trials", "contracts", "registry"]),
    ],
)
def test_some_rooms_know_nothing_of_others(rooms, others):
    for module, found in GRAPH.items():
        if inside(module, *rooms):
            for other in others:
                name = f"ue_bench.{other}"
                known = [each for each in found if each == name or each.startswith(f"{name}.")]
                assert not known, f"{module} must not import {known}"


def names_of(path: Path) -> dict[str, set[str]]:
    """Top-level name -> all words in its definition, of a file."""
    found: dict[str, set[str]] = {}
    source = path.read_text()
    for node in ast.parse(source).body:
        words = set(re.findall(r"\w+", ast.get_source_segment(source, node) or ""))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = words
        elif isinstance(node, ast.Assign):
            found.update({target.id: words for target in node.targets if isinstance(target, ast.Name)})
    return found


def test_what_is_in_the_crafting_room_serves_several_methods():
    """What one method needs lies beside it. Whoever else uses a thing (a check, a defense) counts like a method."""
    crafting = {name: path for name, path in MODULES.items() if inside(name, "crafting")}
    methods = [name for name in MODULES if re.fullmatch(r"ue_bench_methods\.[a-z]\w*", name)]
    definitions = {
        (module, name): words for module, path in crafting.items() for name, words in names_of(path).items()
    }

    def direct(module: str) -> set[tuple[str, str]]:
        """The names of the crafting room that a module spells."""
        words = set(re.findall(r"\w+", MODULES[module].read_text()))
        return {(source, name) for source, name in definitions if source in GRAPH[module] and name in words}

    users: dict[tuple[str, str], set[str]] = {key: set() for key in definitions}
    for module in MODULES:
        if module in crafting or (module.startswith("ue_bench_methods.") and module not in methods):
            continue
        reached, waiting = set(), [module]
        while waiting:  # the module and the packages beside it
            one = waiting.pop()
            if one not in reached:
                reached.add(one)
                waiting += [other for other in GRAPH[one] if other.startswith("ue_bench_methods.")]
        seen, open_names = set(), [key for one in reached for key in direct(one)]
        while open_names:  # what these names use in the room themselves
            key = open_names.pop()
            if key not in seen:
                seen.add(key)
                users[key].add(module)
                near = {key[0], *GRAPH[key[0]]} & crafting.keys()
                open_names += [
                    (source, word)
                    for source in near
                    for word in definitions[key]
                    if (source, word) in definitions
                ]
    lonely = {
        f"{module.removeprefix('ue_bench.')}.{name}": sorted(found)
        for (module, name), found in users.items()
        if len(found) < 2 and not any(user.startswith("ue_bench.") for user in found)
    }
    assert not lonely, lonely


@pytest.mark.parametrize("kind", ["methods", "victims", "suites"])
def test_no_content_is_named_in_the_harness(kind):
    """Trap T12. Words of the language that happen to be names are excepted by hand."""
    common = {"clean", "random", "supervised", "contrastive"}  # also roles of controls, and paradigms
    common |= {"timm", "clip", "poison_ratio", "file"}  # a library, a kind of model, a key of trials, a word
    common |= {"cuda"}  # a kind of device
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
            loads = re.findall(r"(?<![.\w])torch\.load\(.*", path.read_text())
            assert "pickle" not in imports(path), path
            assert all("weights_only=True" in line for line in loads), path
