"""Finding content: listed without being imported, broken files break only themselves."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ue_bench import Method, Victim
from ue_bench.errors import ConfigError, UnavailableError
from ue_bench.reading import read_module
from ue_bench.registry import Registry

CONTENT = Path(__file__).parents[1] / "content"
METHOD = '''
"""A module."""
from __future__ import annotations
from dataclasses import dataclass
from ue_bench import Method
raise RuntimeError("imported")

@dataclass(frozen=True)
class {name}(Method):
    """First line.

    More.
    """
    strength: float = 0.5  # share of the budget (paper, table 1)
    rounds: int = 3
    access = 1
'''


def test_our_own_content_is_found():
    registry = Registry()
    assert {"clean", "random"} <= set(registry.names("methods"))
    assert {"resnet18", "resnet_tiny"} <= set(registry.names("victims"))
    assert "quickstart" in registry.names("suites")
    assert not registry.unavailable
    assert issubclass(registry.load("methods", "random"), Method)
    assert issubclass(registry.load("victims", "resnet_tiny"), Victim)


def test_a_module_is_read_without_being_imported(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(METHOD.format(name="Mine"))
    entry = Registry([path]).find("methods", "mine")
    assert entry.summary == "First line."
    parameters = {item.name: item for item in entry.reading.parameters}
    assert parameters["strength"].default == "0.5"
    assert parameters["strength"].comment == "share of the budget (paper, table 1)"
    assert {"budget", "granularity"} <= set(parameters), "inherited parameters are shown too"
    with pytest.raises(UnavailableError, match="RuntimeError: imported"):
        Registry([path]).load("methods", "mine")


def test_a_base_class_in_a_neighbouring_file_is_followed(tmp_path, monkeypatch):
    package = tmp_path / "my_methods"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text(
        "from ue_bench import Method\nclass Base(Method):\n    depth: int = 2  # layers\n"
    )
    (package / "child.py").write_text("from .base import Base\nclass Child(Base):\n    width: int = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    reading = read_module(package / "child.py", "my_methods")
    assert (reading.kind, reading.class_name) == ("methods", "Child")
    assert {"depth", "width", "budget"} <= {item.name for item in reading.parameters}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class A(B): pass\nclass B(A): pass\n", "in a circle: A, B, A"),
        ("total = " + "+".join(["1"] * 20_000), "RecursionError"),
        ("class C(Method):\n    x: int = " + "+".join(["1"] * 900), "RecursionError"),
        ("import ue_bench\nclass D(ue_bench.Method):\n    y: int = 1\n\0", "null bytes"),
    ],
)
def test_a_hostile_file_breaks_only_itself(tmp_path, source, reason):
    (tmp_path / "hostile.py").write_text("from ue_bench import Method\n" + source)
    (tmp_path / "good.py").write_text(METHOD.format(name="Good"))
    registry = Registry([tmp_path])
    assert "good" in registry.names("methods")
    (hostile,) = registry.unavailable
    assert hostile.name == "hostile" and reason in hostile.problem
    with pytest.raises(UnavailableError, match="hostile"):
        registry.find("methods", "hostile")


def test_classes_that_derive_from_each_other_across_files_are_read_to_an_end(tmp_path, monkeypatch):
    package = tmp_path / "circling"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from .two import Two\nclass One(Two): pass\n")
    (package / "two.py").write_text("from .one import One\nclass Two(One): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="in a circle: One, Two, One"):
        read_module(package / "one.py", "circling")


def test_a_broken_file_breaks_only_itself(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needy.py").write_text("import no_such_package_at_all\n" + METHOD.format(name="Needy"))
    (tmp_path / "good.py").write_text(METHOD.format(name="Good"))
    registry = Registry([tmp_path])
    assert "good" in registry.names("methods")
    problems = {entry.name: entry.problem for entry in registry.unavailable}
    assert "SyntaxError" in problems["broken"]
    assert "pip install no_such_package_at_all" in problems["needy"]
    with pytest.raises(UnavailableError, match="SyntaxError"):
        registry.find("methods", "broken")


def test_what_is_no_readable_file_breaks_only_itself(tmp_path, command):
    for name in ("folder.yaml", "folder.py"):
        (tmp_path / name).mkdir()
    (tmp_path / "nowhere.yaml").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe.yaml")
    ended = command("list", "--plugin", str(tmp_path))
    assert ended.status == 0 and "quickstart" in ended.out and "random" in ended.out
    unavailable = ended.out.partition("unavailable\n")[2]
    assert unavailable.count("it is not a file") == 4
    with pytest.raises(UnavailableError, match="nowhere.yaml.*it is not a file"):
        Registry([tmp_path]).find("suites", "nowhere")


def test_a_suite_that_may_not_be_read_breaks_only_itself(tmp_path, monkeypatch):
    (tmp_path / "secret.yaml").write_text("title: mine")

    read = Path.open

    def refuse(path, *words, **given):
        if path.name == "secret.yaml":  # root may read every file
            raise PermissionError(13, "Permission denied")
        return read(path, *words, **given)

    monkeypatch.setattr(Path, "open", refuse)
    registry = Registry([tmp_path])
    assert [entry.name for entry in registry.unavailable if entry.kind == "suites"][-1] == "secret"


def test_unknown_names_and_parameters_name_the_nearest():
    registry = Registry()
    with pytest.raises(
        ConfigError, match=r"unknown method 'rondom': did you mean 'random'\?.*ue-bench list methods"
    ):
        registry.find("methods", "rondom")
    with pytest.raises(ConfigError, match=r"'granularty': did you mean 'granularity'\?.*show method random"):
        registry.create("methods", "random", {"granularty": "class"})
    with pytest.raises(ConfigError, match=r"random\.granularity must be str"):
        registry.create("methods", "random", {"granularity": []})
    with pytest.raises(ConfigError, match="makes"):
        registry.create("methods", "random", {"granularity": "pixel"})
    with pytest.raises(ConfigError, match=r"resnet_tiny\.channels must be a whole number"):
        registry.create("victims", "resnet_tiny", {"channels": "many"})


def test_parameters_take_their_fields_types():
    method = Registry().create("methods", "random", {"budget": "linf:4/255"})
    assert method.budget.radius == 4


def test_two_of_one_name_are_refused(tmp_path):
    path = tmp_path / "random.py"
    path.write_text(METHOD.format(name="Random"))
    with pytest.raises(ConfigError, match="two methods are called 'random'"):
        Registry([path])


@pytest.mark.parametrize("text", ["x = 1\n", "def f(:\n"])
def test_a_plug_in_that_offers_nothing_is_refused(tmp_path, text):
    path = tmp_path / "nothing.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match="offers nothing"):
        Registry([path])
    with pytest.raises(ConfigError, match="neither a file ending in"):
        Registry([tmp_path / "absent.py"])


def test_listing_imports_neither_torch_nor_content():
    code = (
        "import sys\nfrom ue_bench.cli import main\n"
        "try:\n    main(['list'])\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "try:\n    main(['show', 'method', 'random'])\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "loaded = [m for m in sys.modules if m.split('.')[0] in ('torch', 'timm', 'pandas', 'ue_bench_methods')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_content_knows_its_name_in_copies_and_elsewhere():
    """Loaned to a worker process or changed by a suite, it is still called the same; names are no parameters."""
    registry = Registry([CONTENT])
    named = {
        "fragile": registry.create("methods", "fragile", {"granularity": "class"}),
        "timm:resnet18": registry.create("victims", "timm:resnet18"),
        "jpeg+grayscale": registry.create("defenses", "jpeg+grayscale"),
        "blobs": registry.create("datasets", "blobs"),
    }
    for name, content in named.items():
        copies = [content, dataclasses.replace(content), pickle.loads(pickle.dumps(content))]
        assert [copy.name for copy in copies] == [name] * 3
        assert content == copies[1] == copies[2]
    assert named["fragile"].with_epsilon(3).name == "fragile"
    assert "name" not in named["fragile"].parameters()
