"""Records that a run keeps though it would make them otherwise: other code, other threads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import CONTENT

from ue_bench.report.mixtures import mixtures
from ue_bench.sources import bare, source_hash
from ue_bench.trials import environment
from ue_bench.trials.store import Store


def fresh_imports() -> None:
    """As in the next process: nothing is known of the plug-in any more."""
    source_hash.cache_clear()
    environment._registry.cache_clear()
    sys.modules.pop("ue_bench_plugin_mine", None)


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text((Path(CONTENT) / "fragile.py").read_text().replace("class Fragile", "class Mine"))
    yield path
    fresh_imports()


def test_other_code_behind_kept_records_is_told(command, plugin, tmp_path):
    words = ("run", "suite=toy", "method=mine", f"plugins=[{CONTENT},{plugin}]", f"store={tmp_path / 's'}")
    assert command(*words).status == 0
    record = next(
        r for r in Store(tmp_path / "s").read_records(_ids(tmp_path)).values() if r["method"] == "mine"
    )
    assert set(record["sources"]) == {"dataset", "method", "victim", "defense"}

    plugin.write_text(
        plugin.read_text().replace('"""A method', '"""Another word.\n\nA method') + "\n# a remark\n"
    )
    fresh_imports()
    assert "has changed" not in command(*words).err, "words are no code"

    plugin.write_text(plugin.read_text().replace("delta[:, :, ::2] *= -1", "delta[:, :, 1::2] *= -1"))
    fresh_imports()
    ended = command(*words)
    assert (
        "content has changed since these records were made, and their numbers are kept: method mine (1)"
        in ended.err
    )
    assert "content has changed since these records were made" in ended.out, "it stands under the table too"

    more = command(*words, "defense=grayscale")  # a new trial of the old noise
    assert "the code of the method mine has changed since it made this noise" in more.out


def _ids(folder: Path) -> list[str]:
    return Store(folder / "s").names("trials", ".json")


def test_records_without_sources_stay_silent(command, tmp_path):
    words = ("run", "suite=toy", f"store={tmp_path}")
    command(*words)
    store = Store(tmp_path)
    for record in store.read_records(store.names("trials", ".json")).values():
        store.write_record({name: value for name, value in record.items() if name != "sources"})
    ended = command(*words)
    assert "warning" not in ended.err and "mixed: " not in ended.out


def test_other_threads_are_told_in_the_run_and_under_the_table(command, tmp_path):
    words = ("run", "suite=toy", f"store={tmp_path}")
    command(*words)
    store = Store(tmp_path)
    record = store.read_record(store.names("trials", ".json")[0])
    store.write_record({**record, "device": {**record["device"], "threads": 7}})
    ended = command(*words)
    assert "1 of these records were made by an older version with 7 threads, this run has 1" in ended.err
    for told in (ended.out, command("report", f"store={tmp_path}").out):
        assert "mixed: these records were made with" in told and "and 7 threads" in told


def test_content_that_changed_between_records_is_one_line():
    def record(**sources):
        config = {"dataset": {"name": "d"}, "method": {"name": "m"}, "victim": {"name": "v"}}
        return {"config": config, "sources": sources}

    records = [record(dataset="1", method="1", victim="1"), record(dataset="2", method="2", victim="1")]
    assert mixtures(records) == ["content changed between these records: dataset d, method m"]
    assert mixtures(records[:1]) == []


def test_a_damaged_record_is_not_called_missing(command, tmp_path):
    command("run", "suite=toy", f"store={tmp_path}")
    path = next((tmp_path / "trials").iterdir())
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 3'))
    ended = command("report", f"store={tmp_path}")
    told = ended.out
    assert f"{path.name} is damaged" in ended.err
    assert f"trials/{path.name}: its checksum does not match its content" in told
    assert "1 damaged" in told and "missing" not in told
    plan = next((tmp_path / "plans").iterdir())
    plan.write_text(json.dumps({}))
    assert f"plans/{plan.name} is damaged" in command("report", f"store={tmp_path}").err


def test_code_without_words():
    code = '"""Doc."""\nimport a  # why\n\n\ndef f(x):\n    """Says."""\n    # does\n    return "# no comment" + x\n'
    assert bare(code) == 'import a\ndef f(x):\n    return "# no comment" + x'


def test_private_modules_of_a_package_count(tmp_path, monkeypatch):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_base.py").write_text("x = 1\n")
    (package / "other.py").write_text("y = 1\n")
    (package / "method.py").write_text("from ._base import x\nimport theirs.method\n")
    monkeypatch.syspath_prepend(tmp_path)

    def now() -> str:
        source_hash.cache_clear()
        return source_hash(package / "method.py", "theirs.method", "theirs")

    first = now()
    (package / "other.py").write_text("y = 2\n")
    assert now() == first
    (package / "_base.py").write_text("x = 2\n")
    assert now() != first
