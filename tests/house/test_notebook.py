"""The notebook for first steps: its cells run in order, and what is kept of them is small and names no machine."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first_steps.ipynb"
SMALL = {
    "store=store": 'store=store, shapes={"train_images": 100, "test_images": 50}, recipe={"epochs": 1}'
}  # the test's only change


def cells() -> list[dict]:
    content = json.loads(NOTEBOOK.read_text())
    assert content["nbformat"] == 4
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def test_every_cell_runs_in_order_and_shows_what_it_says(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    names: dict = {}
    shown = []
    try:
        for cell in cells():
            source = "".join(cell["source"])
            for full, small in SMALL.items():
                source = source.replace(full, small)
            *body, last = ast.parse(source).body
            exec(compile(ast.Module(body, []), "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
            else:
                exec(compile(ast.Module([last], []), "cell", "exec"), names)
    finally:
        matplotlib.pyplot.close("all")
        matplotlib.use(backend)
    assert names["protected"].shape == names["images"].shape and len(names["figure"].axes) == 18
    assert "| synper (image)" in names["result"]._repr_markdown_()
    assert sorted(names["frame"]["method"]) == ["clean", "random", "synper"]
    assert len(shown) == 5 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", range(len(cells())))
def test_what_is_kept_of_a_cell_is_whole_and_small(number):
    cell = cells()[number]
    assert cell["execution_count"] == number + 1
    text = json.dumps(cell["outputs"])
    assert len(text) < 100_000 and "stream" not in [output["output_type"] for output in cell["outputs"]]
    assert "/root" not in text and "/home/" not in text and "site-packages" not in text
