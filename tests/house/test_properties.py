"""Random configurations, images, files and plug-ins: a clear error or a result, never a traceback or a silent skip."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ue_bench.cli import main
from ue_bench.config import KEYS
from ue_bench.configure import configure
from ue_bench.datasets.parquet import Parquet
from ue_bench.errors import ConfigError, DataError, StoreError, UEBenchError
from ue_bench.registry import Registry
from ue_bench.trials.artefacts import load_perturbation
from ue_bench.trials.store import Store

METHODS = Registry().names("methods")
CONTENT = Path(__file__).parents[1] / "content"
SOAK = int(
    os.environ.get("UE_BENCH_EXAMPLES", 0)
)  # examples a test, other ones each time: see CONTRIBUTING.md
SILENT = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": not SOAK}
some = settings(max_examples=SOAK or 60, **SILENT)
few = settings(max_examples=SOAK or 25, **SILENT)

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 300),
        st.floats(allow_infinity=True, width=32),
        st.sampled_from(
            ["clean", "fragile", "linear", "blobs", "none", "8/255", "linf:8", "class", "", "tiny"]
        ),
        st.text(max_size=6),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=2)
    ),
    max_leaves=4,
)
keys = st.one_of(
    st.sampled_from([key for key in KEYS if key not in ("store", "plugins", "suite", "executor")]),
    st.sampled_from(
        ["fragile.failure", "fragile.budget", "blobs.count", "recipe.epochs", "floors.clean_accuracy", "x.y"]
    ),
    st.text(max_size=5),
)


def end_of(words: list[str], capsys: pytest.CaptureFixture) -> int:
    """The exit status of a command, which must have told its mistake in words."""
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if end.value.code:
        assert end.value.code == 2 and said.err.strip()
    return end.value.code or 0


# what people and shells really type, and what YAML or a float makes of it
typed = st.one_of(
    st.sampled_from(
        [
            *(
                "007",
                "no",
                "12:30",
                "1e3",
                "2024-01-01",
                "~",
                "null",
                "true",
                "8/255",
                "1/0",
                "-1",
                "0",
                "9" * 23,
            ),
            *(
                ".nan",
                ".inf",
                "-.inf",
                "nan",
                "1e999",
                "[1,2]",
                "{a: [1]}",
                "[",
                "{",
                "*a",
                "&a [*a]",
                "[" * 3000,
            ),
            *(
                "${x}",
                "${oc.env:HOME}",
                "!!python/name:os.system",
                "a" * 300,
                "\ud800",
                "\u2013",
                "a: b",
                "[[]]",
            ),
            *(
                "{random: {budget: l2:1}}",
                "{clean: fragile}",
                "{fragile: [1]}",
                "{preset: tiny, epochs: .nan}",
            ),
        ]
    ),
    values.map(lambda value: yaml.safe_dump(value, default_flow_style=True).splitlines()[0]),
)
BASE = ("suite=toy", f"plugins={CONTENT}", "store=memory://words")


@few
@given(words=st.lists(st.tuples(keys, typed), max_size=3))
def test_any_words(capsys, words):
    given = [f"{key}={text}" for key, text in words]
    base = ["run", *BASE, "--dry-run", "--no-calibrate"]
    end_of([*base, *(f" {word}" if word.startswith("-") else word for word in given)], capsys)


@few
@given(
    words=st.permutations(
        ["seeds=2", "recipe=tiny", "recipe.epochs=1", "fragile.budget=linf:2", "floors.clean_accuracy=1"]
    ),
    extra=st.one_of(st.none(), st.sampled_from(["seeds=2", "recipe.epochs=1", "fragile.budget=linf:2"])),
)
def test_any_order_of_words(words, extra):
    """The same words mean the same in any order, and none is given twice."""
    if extra is None:
        assert configure([*words, *BASE])[0] == configure([*sorted(words), *BASE])[0]
        return
    with pytest.raises(ConfigError, match="given twice"):
        configure([*words, extra, *BASE])


@few
@given(
    command=st.sampled_from(["report", "explain", "noise", "export", "apply", "cost"]),
    words=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *(
                        "suite",
                        "profile",
                        "plugins",
                        "trial",
                        "count",
                        "device",
                        "method",
                        "captions",
                        "size",
                    ),
                    *(
                        "out",
                        "seed",
                        "epsilon",
                        "prepared",
                        "noise",
                        "images",
                        "exif",
                        "match",
                        "max_pixels",
                        "x",
                    ),
                ]
            ),
            typed.filter(lambda text: "/" not in text),
        ),
        max_size=4,
        unique_by=lambda word: word[0],
    ),
)
def test_any_words_of_other_commands(capsys, tmp_path_factory, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    end_of([command, "store=memory://empty", *(f"{key}={text}" for key, text in words)], capsys)


@few
@given(content=st.one_of(values, st.dictionaries(keys, values, max_size=4), st.binary(max_size=40)))
def test_any_suite_file(capsys, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "odd.yaml")
        path.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
        end_of(
            ["run", "suite=odd", f"plugins=[{path}]", "store=memory://odd", "--dry-run", "--no-calibrate"],
            capsys,
        )


@few
@given(change=st.dictionaries(keys, values, min_size=1, max_size=3))
def test_any_change_of_a_suite(capsys, change):
    """Neighbours of a suite that works, which get further than any mapping does."""
    suite = yaml.safe_load((CONTENT / "toy.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "odd.yaml")
        path.write_text(yaml.safe_dump({**suite, **change}))
        plugins = f"plugins=[{path},{CONTENT}]"
        end_of(["run", "suite=odd", plugins, "store=memory://odd", "--dry-run", "--no-calibrate"], capsys)


@few
@given(
    source=st.one_of(st.text(max_size=60), st.binary(max_size=60)),
    stem=st.from_regex(r"[a-z]{3,8}", fullmatch=True),
)
def test_any_plug_in(source, stem):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{stem}.py")
        path.write_bytes(source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass"))
        registry = Registry([folder])
        assert registry.names("methods") == METHODS
        with pytest.raises(UEBenchError):
            Registry([path])


def picture(side: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 7, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


GOOD = picture(8)
payloads = st.one_of(st.just(GOOD), st.just(GOOD[:30]), st.binary(max_size=30), st.none())


@some
@given(rows=st.lists(st.tuples(payloads, st.integers(0, 3)), min_size=1, max_size=6))
def test_any_image_bytes(rows):
    images = pa.array(
        [{"bytes": data, "path": None} for data, _ in rows],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("train", "test"):
            pq.write_table(
                pa.table({"image": images, "label": [label for _, label in rows]}),
                Path(folder, f"{name}.parquet"),
            )
        bad = [number for number, (data, _) in enumerate(rows) if data != GOOD]
        if not bad:
            assert len(Parquet(path=folder).load(None).train) == len(rows)
            return
        with pytest.raises(DataError) as caught:
            Parquet(path=folder).load(None)
        assert all(str(number) in str(caught.value) for number in bad), "every bad row is named"


@some
@given(
    columns=st.dictionaries(
        st.sampled_from(["image", "label", "img", "captions", "x"]),
        st.sampled_from(
            [[1, 2], ["a", "b"], [None, None], [b"x", b"y"], [1.5, float("nan")], [["a"], ["b"]]]
        ),
        min_size=1,
    )
)
def test_any_parquet_columns(columns):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("train", "test"):
            pq.write_table(pa.table(columns), Path(folder, f"{name}.parquet"))
        with pytest.raises(UEBenchError):
            Parquet(path=folder).load(None)


@some
@given(content=st.binary(max_size=200))
def test_any_bytes_in_a_store(content):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for parts in (("trials", "a.json"), ("plans", "a.json"), ("noise", "a.safetensors")):
            store.write(parts, content)
        assert store.read_record("a") is None and store.read_plans() == []
        with pytest.raises(StoreError):
            load_perturbation(store, "a")
