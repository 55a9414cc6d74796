"""Stores damaged in any way: never a traceback, never a wrong number, and what is whole stays as it is."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CONTENT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ue_bench.canonical import dumps
from ue_bench.cli import main

SOAK = int(os.environ.get("UE_BENCH_EXAMPLES", 0))  # examples a test, other ones each time
damaging = settings(
    max_examples=SOAK or 8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not SOAK,
    database=None,
)
PREPARING = '''"""Noise from what is prepared once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Access, Budget, Context, Method, Perturbation, ProtectorView


@dataclass(frozen=True)
class Preparing(Method):
    """A pattern that is drawn once."""

    budget: Budget = Budget("linf", 8)  # steps of 1/255

    access = Access.NOTHING

    def prepare(self, context: Context) -> dict[str, torch.Tensor]:
        return {"pattern": torch.randint(-8, 9, (3, 16, 16), generator=context.generator).to(torch.int8)}

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        noise = context.keep({"what": "pattern"}, lambda: dict(context.prepared))["pattern"]
        return Perturbation(noise.expand(len(view), -1, -1, -1).clone(), view.rows("image"), self.budget)
'''


def call(*words: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of a command."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(list(words))
    return end.value.code or 0, out.getvalue(), err.getvalue()


def numbers(store: Path) -> dict[str, dict]:
    """The metrics in a store's records, by trial."""
    return {path.stem: json.loads(path.read_text())["metrics"] for path in (store / "trials").glob("*.json")}


def cells(text: str) -> dict[str, str]:
    """What a CSV report says of each row: its name and its mean."""
    lines = [line.split(",") for line in text.splitlines()]
    head = lines[0]
    rows = [dict(zip(head, line, strict=True)) for line in lines[1:]]
    return {f"{row['method']} {row['granularity']}": row["mean"] for row in rows}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, list[str], str]:
    """(a finished store, the words of its run, its report)."""
    top = tmp_path_factory.mktemp("finished")
    (top / "preparing.py").write_text(PREPARING)
    words = ["suite=toy", "method=[fragile,preparing]", f"plugins=[{CONTENT},{top / 'preparing.py'}]"]
    status, _, said = call("run", *words, f"store={top / 'store'}")
    assert status == 0, said
    names = {path.parent.name for path in (top / "store").rglob("*") if path.is_file()}
    assert names == {"plans", "trials", "noise", "prepared"}
    return top / "store", words, call("report", f"store={top / 'store'}", "--format", "csv")[1]


def change_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    return lambda path, _: path.write_bytes(change(path.read_bytes())) and None


def swap(path: Path, other: Path) -> None:
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def become_a_folder(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


def point_at(where: str) -> Callable[[Path, Path], None]:
    def damage(path: Path, other: Path) -> None:
        path.unlink()
        path.symlink_to(where or path)

    return damage


def flip(place: float, bit: int) -> Callable[[Path, Path], None]:
    def change(content: bytes) -> bytes:
        flipped = bytearray(content)
        flipped[int(place * len(content))] ^= 1 << bit
        return bytes(flipped)

    return change_bytes(change)


def change_field(place: int, value: object) -> Callable[[Path, Path], None]:
    """Another value, or none, in one place of a record, plan or header, whose checksum stays as it was."""

    def damage(path: Path, other: Path) -> None:
        content = path.read_bytes()
        if path.suffix == ".json":
            body = json.loads(content)
            alter(body, place, value)
            path.write_text(dumps(body))
            return
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        facts = json.loads(header["__metadata__"]["facts"])
        alter(facts, place, value)
        header["__metadata__"]["facts"] = dumps(facts)
        text = dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])

    return damage


def alter(body: dict | list, place: int, value: object) -> None:
    """Changes the value at one of all places inside ``body``; "gone" takes it away."""
    places: list[tuple] = []

    def walk(inner: object) -> None:
        pairs = (
            inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        )
        for key, item in pairs:
            places.append((inner, key))
            walk(item)

    walk(body)
    inner, key = places[place % len(places)]
    if value == "gone":
        del inner[key]
    else:
        inner[key] = value


shares = st.floats(0, 1, exclude_max=True)
junk = st.one_of(
    st.just("gone"),
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([1e308, float("nan"), "", "x", "\ud800", "../../x", [], {}, [1], {"a": 1}, True]),
)
places = st.integers(0, 10**6)
damages = st.one_of(
    st.builds(flip, shares, st.integers(0, 7)),
    st.builds(lambda share: change_bytes(lambda content: content[: int(share * len(content))]), shares),
    st.builds(lambda more: change_bytes(lambda content: content + more), st.binary(min_size=1, max_size=9)),
    st.builds(lambda whole: change_bytes(lambda _: whole), st.binary(max_size=40)),
    st.just(change_bytes(lambda content: content.replace(b'"', b'\xff"', 1))),
    st.sampled_from(
        [
            *(swap, become_a_folder, point_at(""), point_at("/nowhere")),
            lambda path, other: other.write_bytes(path.read_bytes()),
            lambda path, other: path.unlink(),
            lambda path, other: os.replace(path, path.with_name(f"x{path.name}")),
            lambda path, other: os.replace(path, path.with_suffix(".bak")),
        ]
    ),
    st.builds(change_field, places, junk),
)


@contextlib.contextmanager
def damaged(store: Path, strokes: list[tuple[int, int, Callable]]):
    """(a copy of the store with these damages, the contents of its files that were left alone)."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "store")
        shutil.copytree(store, copy)
        paths = sorted(path for path in copy.rglob("*") if path.is_file())
        before = {path: path.read_bytes() for path in paths}
        for which, besides, stroke in strokes:
            path = paths[which % len(paths)]
            near = [other for other in paths if other.parent == path.parent and other != path] or [path]
            other = near[besides % len(near)]
            with contextlib.suppress(
                OSError, ValueError, KeyError
            ):  # a second stroke on what is broken already
                stroke(path, other)
        whole = {path: old for path, old in before.items() if path.is_file() and path.read_bytes() == old}
        yield copy, whole


def ended(words: tuple[str, ...]) -> tuple[int, str, str]:
    status, out, err = call(*words)
    assert status in (0, 2) and "Traceback" not in err, err
    assert not status or "ue-bench: " in err
    return status, out, err


strokes = st.lists(st.tuples(places, places, damages), min_size=1, max_size=3)


@damaging
@given(strokes=strokes)
def test_any_damage(finished, strokes):
    """Reports hold true numbers or none; a run makes anew what is lost and leaves alone what is whole."""
    store, words, report = finished
    with damaged(store, strokes) as (copy, whole):
        status, out, err = ended(("report", f"store={copy}", "--format", "csv"))
        if status == 0:
            true, shown = cells(report), cells(out)
            assert shown.keys() == true.keys()
            assert all(mean in ("", true[row]) for row, mean in shown.items()), (shown, true)
        status, out, err = ended(("run", *words, f"store={copy}", "--format", "csv"))
        assert (status == 0 and numbers(copy) | numbers(store) == numbers(copy)) or status == 2, err
        assert status == 2 or cells(out) == cells(report)
        for path, content in whole.items():
            assert path.parent.name == "plans" or path.read_bytes() == content, (
                f"{path.name} was written again"
            )
