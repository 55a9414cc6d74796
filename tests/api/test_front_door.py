"""Suites run from Python: what a shell would do, with a table that a notebook shows and rows for pandas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

import ue_bench
from ue_bench.api.frame import make_frame
from ue_bench.api.settings import as_words
from ue_bench.config import parse_words
from ue_bench.errors import ConfigError

SMALL = {"profile": "smoke", "shapes": {"train_images": 100, "test_images": 50}, "seeds": 1}
TRIALS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The quickstart's controls and SynPer, at smoke size."""
    store = tmp_path_factory.mktemp("front") / "store"
    return ue_bench.run("quickstart", method=["synper"], store=store, **SMALL)


def test_the_table_is_what_the_command_line_prints_and_names_the_same_command(result, command, tmp_path):
    ended = command("report", "--format", "markdown", f"store={_store(result)}")
    assert ended.status == 0 and result.table().partition("<details>")[0] in ended.out
    assert result._repr_markdown_() == result.table()._repr_markdown_() == result.table()
    assert "ue-bench run suite=quickstart 'method=[synper]'" in result.plan["command"]
    assert json.loads(result.table("json")) and result.table("latex").startswith("%")
    assert repr(result) == "Result(quickstart: 3 of 3 trials)"
    with pytest.raises(ConfigError, match="unknown format 'pdf'"):
        result.table("pdf")


def test_a_second_run_does_nothing_and_the_shell_goes_on_where_python_stopped(result, command, capsys):
    store = _store(result)
    before = ue_bench.load(store)
    torch.manual_seed(1)
    wanted, _ = torch.rand(1), torch.manual_seed(1)
    again = ue_bench.run("quickstart", method=["synper"], store=store, **SMALL)
    assert torch.equal(torch.rand(1), wanted) and capsys.readouterr().err == ""
    pandas.testing.assert_frame_equal(again.frame(), before)
    assert json.dumps(again.records) == json.dumps(result.records), "plain values"
    configs = [record["config"]["victim"] for record in again.records.values()]
    assert configs[0] == configs[1] and configs[0] is not configs[1], "which whoever asks may change"
    words = ["profile=smoke", "shapes.train_images=100", "shapes.test_images=50", "seeds=1", "plugins="]
    ended = command("run", "suite=quickstart", "method=[synper]", f"store={store}", *words)
    assert ended.status == 0 and "3 done, 0 to do" in ended.err


def test_rows_of_pandas_are_tidy_and_say_their_units(result):
    frame = ue_bench.load(_store(result), suite="quickstart")
    assert len(frame) == 3 and frame["id"].is_unique and set(frame["status"]) == {"done"}
    synper = frame[frame["method"] == "synper"].iloc[0]
    record = result.records[synper["id"]]
    assert synper["accuracy_last_percent"] == record["metrics"]["accuracy_last"]
    assert synper["protect_seconds"] == record["seconds"]["protect"]
    assert synper["noise_linf_steps"] == record["noise"]["linf"] and synper["epochs"] == 2
    assert str(frame["created"].dtype).startswith("datetime64") and frame["created"].is_monotonic_increasing
    assert not [
        name for name in frame if frame[name].map(lambda value: isinstance(value, (dict, list))).any()
    ]
    assert set(frame.columns) == set(result.frame().columns)


def test_records_of_pairs_have_rows_too():
    path = min(TRIALS.glob("clip_shapes/trials/*.json"))
    record = json.loads(path.read_text())
    row = make_frame([record]).iloc[0]
    assert row["i2t_hit@10_percent"] == record["metrics"]["i2t_hit@10"]
    assert row["best_t2i_medr_rank"] == record["metrics"]["best"]["t2i_medr"]
    assert row["best_epoch"] == record["metrics"]["best"]["epoch"]


def test_failed_trials_are_named_and_the_others_are_kept(tmp_path):
    content = Path(__file__).parents[1] / "content"
    with pytest.warns(UserWarning, match="trials failed: fragile"):
        result = ue_bench.run(
            "quickstart",
            method=["fragile"],
            plugins=[content],
            store=tmp_path,
            fragile={"failure": "raise"},
            **SMALL,
        )
    frame = result.frame()
    assert result.failures and (frame["status"] == "failed").sum() == len(result.failures)
    assert frame.query("status == 'failed'")["error"].str.len().min() > 0
    assert "failed" in repr(result)


def test_mistakes_are_told_as_on_the_command_line(tmp_path):
    for settings, message in (
        ({"suite": "quikstart"}, "unknown suite 'quikstart': did you mean 'quickstart'"),
        ({"suite": "quickstart", "seedz": 1}, "unknown key 'seedz'"),
        ({"suite": "quickstart", "em": {"max_round": 1}}, "max_rounds"),
        ({"suite": "quickstart", "method": object()}, "is object, but a setting is a number, text, a list"),
    ):
        with pytest.raises(ConfigError, match=message):
            ue_bench.run(**{"profile": "smoke", "method": ["em"], "store": tmp_path, **settings})
    with pytest.raises(ConfigError, match=r"has no trial: it holds none\. See: ue_bench\.run"):
        ue_bench.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": ["em", "ar"], "seeds": 3}, ["method=[em,ar]", "seeds=3"]),
        ({"em": {"max_rounds": 5, "surrogate": "resnet18"}}, ["em.max_rounds=5", "em.surrogate=resnet18"]),
        ({"parameters": {"em": {"max_rounds": 5}}}, ["em.max_rounds=5"]),
        ({"recipe": {"epochs": 2, "flip": False}}, ["recipe.epochs=2", "recipe.flip=false"]),
        ({"epsilon": "8/255", "image_size": None}, ["epsilon=8/255", "image_size=null"]),
        ({"store": Path("a b"), "plugins": [Path("007"), "x.py"]}, ["store=a b", 'plugins=["007",x.py]']),
        (
            {"poison_ratio": (0.2, np.float64(1e-3)), "seed": np.int64(7)},
            ["poison_ratio=[0.2,0.001]", "seed=7"],
        ),
        ({"dataset": {"imagefolder": {"path": "a: b"}}}, ['dataset={imagefolder: {path: "a: b"}}']),
        ({"defense": ["jpeg+grayscale", "none"]}, ["defense=[jpeg+grayscale,none]"]),
    ],
)
def test_settings_are_the_words_that_a_person_would_type(settings, words):
    assert as_words(settings) == words
    assert parse_words(words)


def _store(result) -> str:
    words = result.plan["command"].split()
    return next(word.removeprefix("store=") for word in words if word.startswith("store="))
