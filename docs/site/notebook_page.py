"""A notebook as a page: its words, its code and what its cells showed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

KINDS = ("text/markdown", "image/png", "text/html", "text/plain")  # the first that a cell has is shown


def as_markdown(notebook: str) -> str:
    """The Markdown of a notebook (format 4); pictures are part of it as ``data:`` addresses."""
    parts = ["---\nhide: [toc]\n---"]
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [_shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts) + "\n"


def _shown(output: Mapping[str, Any]) -> str:
    data = output.get("data") or {"text/plain": output.get("text", "")}
    kind = next(kind for kind in KINDS if kind in data)
    content = "".join(data[kind])
    if kind == "image/png":
        content = f'<img alt="" src="data:image/png;base64,{content.replace(chr(10), "")}">'
    if kind == "text/html":
        content = content.replace(' border="1" class="dataframe"', "")  # pandas' own look
    if kind == "text/plain":
        content = f"```text\n{content}\n```"
    return f'<div class="output" markdown="1">\n\n{content}\n\n</div>'
