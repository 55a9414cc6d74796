"""The command line as a person meets it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ue_bench.cli import main

CONTENT = Path(__file__).parents[1] / "content"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "which suite? Say suite=NAME: "),
        (["run", "suite=quickstrat"], "did you mean 'quickstart'"),
        (["run", "suite=toy", "metod=em"], "did you mean 'method'"),
        (["run", "suite=toy", "method=fragle"], "did you mean 'fragile'"),
        (["run", "suite=toy", "victim=linaer"], "did you mean 'linear'"),
        (["run", "suite=toy", "fragile.failur=x"], "did you mean 'failure'"),
        (["run", "suite=toy", "seeds=three"], "seeds"),
        (["run", "suite=toy", "device=gpu"], "unknown device 'gpu'"),
        (["run", "suite=toy", "device=meta"], "unknown device 'meta'"),
        (
            ["run", "suite=toy", "dataset=shapes", "shapes.train_images=1000000000000"],
            "does not fit into memory",
        ),
        (["run", "suite=toy", "executor=rey"], "unknown executor 'rey'"),
        (["run", "suite=toy", "ray_address=auto", "gpus_per_trial=1"], "say executor=ray too"),
        (["run", "suite=toy", "executor=ray", "gpus_per_trial=1.5"], "such as 0.5, or 1, 2"),
        (["run", "suite=toy", "executor=ray", "cpus_per_trial=0"], "cpus_per_trial must be above 0"),
        (["run", "suite=toy", "epsilon=300"], "epsilon 300 is not an linf radius"),
        (["run", "suite=toy", "epsilon=.nan"], "epsilon nan is not an linf radius"),
        (["run", "suite=toy", "epoches=3"], "did you mean 'recipe.epochs'"),
        (["report", "store="], "store= is empty"),
        (["run", "suite=toy", "epsilon=0.1"], "say 26 or 26/255"),
        (["run", "suite=toy", "plugins=nowhere.py"], "nowhere.py is neither a file"),
        (["run", "suite=toy", "oops"], "settings read key=value"),
        (["run", "suite=toy", "--format", "html5"], "unknown format"),
        (["report"], "it holds no run yet"),
        (["report", "store=[]"], "say a folder, or a list of them"),
        (["report", "suit=toy"], "did you mean 'suite'"),
        (["list", "method"], ""),
        (["list", "metods"], "did you mean 'methods'"),
        (["show", "victim", "resnet"], "did you mean"),
        (["show"], "Say ue-bench show NAME. See: ue-bench list"),
        (["show", "emm"], "did you mean 'em'"),
        (["show", "method"], "which method? Say ue-bench show method NAME"),
        (["show", "victim", "em"], "unknown victim 'em'"),
        (["new", "suite", "x"], "no template"),
        (["new", "method", "3x"], "cannot name a module"),
        (["check", "nothing"], "unknown method, victim, defense or dataset"),
    ],
)
def test_mistakes_end_with_status_2_and_no_traceback(command, words, message):
    ended = command(*words)
    if message:
        assert ended.status == 2, ended.out
        assert message in ended.err and "Traceback" not in ended.err
        assert ended.err.startswith("ue-bench: ")
    else:
        assert ended.status == 0


def test_cuda_without_a_gpu_is_named(command, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ended = command("run", "suite=toy", "device=cuda")
    assert ended.status == 2 and "device=cpu" in ended.err


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_folders_to_write_to_that_are_files(command, tmp_path, place):
    (tmp_path / "file").write_text("")
    ended = command("new", "method", "mine", "--to", str(tmp_path / place))
    assert ended.status == 2 and "Name another folder: --to" in ended.err


def test_a_terminal_without_dashes(monkeypatch):
    """Tables hold a dash that Latin-1 has not: it is spelt out, and the run ends as it would elsewhere."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("ue_bench.registry.Entry.summary", "a \u2013 b")
    with pytest.raises(SystemExit) as end:
        main(["list", "suites"])
    stream.flush()
    assert not end.value.code and b"a \\u2013 b" in stream.buffer.getvalue()


def test_a_store_that_is_a_file(command, tmp_path):
    (tmp_path / "file").write_text("")
    ended = command("run", "suite=toy", f"store={tmp_path / 'file'}")
    assert ended.status == 2 and "is a file; name a folder" in ended.err


def test_a_dry_run_does_nothing(command, tmp_path):
    ended = command("run", "suite=toy", "--dry-run", "--all", "--no-calibrate", "granularity=class")
    assert ended.status == 0
    assert (
        "3 trials, 3 to do" in ended.out and "fragile (class), blobs, linear, seed 0; Linf 8/255" in ended.out
    )
    assert not (tmp_path / "store").exists()


def test_list_and_show(command):
    listed = json.loads(command("list", "--json").out)
    assert {"methods", "victims", "defenses", "datasets", "suites", "unavailable"} == set(listed)
    assert all(item["summary"] for kind in listed if kind != "unavailable" for item in listed[kind]), (
        "each says what it is"
    )
    shown = command("show", "method", "random").out
    assert "may see: labels" in shown and "budget = Budget('linf', 8)" in shown and "steps of 1/255" in shown
    assert "ue-bench run suite=quickstart" in command("show", "suite", "quickstart").out


@pytest.mark.parametrize(
    ("kind", "name"), [("method", "em"), ("defense", "jpeg+cutout"), ("victim", "timm:x")]
)
def test_show_takes_a_name_alone(command, kind, name):
    alone = command("show", name)
    assert alone.status == 0 and alone.out == command("show", kind, name).out != ""


def test_show_tells_the_kinds_that_have_a_name(command, tmp_path):
    (tmp_path / "fragile.yaml").write_text("title: x\n")
    (tmp_path / "half.py").write_text("def f(:")
    ended = command("show", "fragile", "--plugin", CONTENT, "--plugin", tmp_path)
    assert ended.status == 2 and "there is a method and a suite 'fragile'" in ended.err
    assert "say ue-bench show method fragile or ue-bench show suite fragile" in ended.err
    assert command("show", "suite", "fragile", "--plugin", tmp_path).out.startswith("suite fragile")
    ended = command("show", "half", "--plugin", tmp_path)
    assert ended.status == 2 and "'half'" in ended.err and "SyntaxError" in ended.err


def test_report_prints_what_the_store_holds(command):
    made = command("run", "suite=toy").out
    table = command("report", "suite=toy").out
    assert table.splitlines()[:9] == made.splitlines()[:9]
    rows = json.loads(command("report", "--format", "json").out)
    assert rows
    assert "fragile" in command("report", "--format", "csv").out
    assert command("report", "suite=other").status == 2


def test_report_writes_one_page_of_several_stores(command, tmp_path):
    stores = [tmp_path / name for name in ("one", "two")]
    for store, method in zip(stores, ("fragile", "random"), strict=True):
        command("run", "suite=toy", f"method={method}", f"store={store}")
    page, content = tmp_path / "page.html", f"plugins={CONTENT}"
    both = f"store=[{stores[0]},{stores[1]}]"
    ended = command("report", "--format", "html", f"out={page}", both, content)
    assert (ended.status, ended.out, ended.err) == (0, "", f"wrote {page}\n")
    text = page.read_text(encoding="utf-8")
    assert "fragile" in text and 'href="one/trials/' in text and 'href="two/trials/' in text
    assert text.count("data:image/webp;base64,") >= 2, "noise of both stores"
    assert command("report", "--format", "html", both, content).out.startswith("<!doctype html>")
    refused = command("report", f"out={tmp_path}/nowhere/page.md", both)
    assert refused.status == 2 and "cannot write" in refused.err and "out=FILE" in refused.err
    ended = command("report", f"out={tmp_path / 'page.md'}", f"store={stores[0]}")
    assert ended.status == 0 and (tmp_path / "page.md").read_text(encoding="utf-8").startswith("### ")


def test_report_tells_what_older_plans_it_leaves_out(command):
    for seeds in (1, 2, 3):
        command("run", "suite=toy", "method=fragile", f"seeds={seeds}")
    newest, everything = command("report"), command("report", "--all")
    assert newest.err.splitlines() == ["not shown: 2 older plans of toy; --all shows every plan"]
    assert not everything.err and everything.out.count("### ") > newest.out.count("### ") >= 1


def test_a_new_method_runs_and_passes_its_check(command, tmp_path):
    ended = command("new", "method", "my-noise", "--to", str(tmp_path))
    path = tmp_path / "my_noise.py"
    assert ended.status == 0 and path.is_file()
    assert command("new", "method", "my_noise", "--to", str(tmp_path)).status == 2, "never over a file"
    checked = command("check", str(path))
    assert checked.status == 0, checked.out
    assert (
        "0 failed" in checked.out and "my_noise (class)" in checked.out and "my_noise (image)" in checked.out
    )
    ran = command("run", "suite=toy", f"plugins=[{path},{CONTENT}]", "method=my_noise")
    assert ran.status == 0, ran.err
    assert "my_noise" in ran.out


def test_check_finds_what_a_file_gets_wrong(command, tmp_path):
    text = Path(CONTENT, "fragile.py").read_text()
    for failure, message in [
        ("over", "over its budget"),
        ("mutate", "changed images or labels in place"),
        ("peek", "reads captions"),
    ]:
        path = tmp_path / f"{failure}.py"
        path.write_text(text.replace('failure: str = ""', f'failure: str = "{failure}"'))
        ended = command("check", str(path))
        assert ended.status == 1 and message in ended.out


@pytest.mark.parametrize("kind", ["methods", "victims", "defenses", "datasets"])
def test_no_line_of_list_and_show_is_longer_than_a_page(command, kind):
    listed = command("list", kind, "--json").out
    names = [entry["name"] for entry in json.loads(listed)[kind]]
    for words in (["list", kind], *(["show", kind[:-1], name] for name in names)):
        out = command(*words).out
        assert max(len(line) for line in out.splitlines()) <= 120, words


def test_ctrl_c_while_modules_are_imported_ends_quietly(command, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupt)
    ended = command("list")
    assert (ended.status, ended.out, ended.err) == (130, "", "")
