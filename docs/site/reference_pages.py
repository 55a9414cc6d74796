"""The pages of the API reference: what ``ue_bench`` offers by name, and the steps that methods share."""

from __future__ import annotations

from pathlib import Path

import ue_bench

FRONT = ("protect", "run", "load")
INTRODUCTIONS = {
    "index": "# API reference\n\n`ue_bench.protect`, `run` and `load` are the front door; `run` returns a "
    "`Result`. This page is made from the docstrings; what content is written with has pages of its own: "
    "[contracts](contracts.md), [bounds of parameters](bounds.md), [steps that methods share](crafting.md).",
    "contracts": "# Contracts\n\nWhat methods, victims, defenses and datasets derive from or are given. "
    "All of it is imported from `ue_bench`.",
    "bounds": "# Bounds of parameters\n\nTypes of fields that say which values a parameter may have. "
    "All of them are imported from `ue_bench`.",
    "crafting": "# Steps that methods share\n\nModules of `ue_bench.crafting`, for authors of methods.",
}


def pages() -> dict[str, str]:
    """``docs/api/NAME.md`` -> its Markdown, which names objects that mkdocstrings describes."""
    public = {name: f"{module}.{name}" for name, module in ue_bench._PUBLIC.items()}
    bounds = [name for name, path in public.items() if path.startswith("ue_bench.bounds.")]
    contracts = [name for name in public if name not in (*FRONT, *bounds)]
    named = {
        "index": [
            *(_object(public[name], f"ue_bench.{name}") for name in FRONT),
            _object("ue_bench.api.run.Result"),
        ],
        "contracts": [_object(public[name], f"ue_bench.{name}") for name in contracts],
        "bounds": [_object(public[name], f"ue_bench.{name}") for name in bounds],
        "crafting": [
            _object(f"ue_bench.crafting.{path.stem}")
            for path in sorted(Path(ue_bench.__file__).with_name("crafting").glob("[a-z]*.py"))
        ],
    }
    return {
        f"docs/api/{page}.md": "\n\n".join([INTRODUCTIONS[page], *parts]) + "\n"
        for page, parts in named.items()
    }


def _object(path: str, heading: str = "") -> str:
    """What mkdocstrings replaces by the description of an object, under the name that people import."""
    heading = heading or path
    settings = {"heading": heading, "toc_label": heading.rpartition(".")[2]}
    lines = [f"::: {path}", "    options:", *(f"      {key}: {value}" for key, value in settings.items())]
    return "\n".join(lines)
