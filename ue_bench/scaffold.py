"""Writes the file that a new method starts from."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path

from ue_bench.errors import ConfigError


def write_module(kind: str, name: str, folder: Path) -> Path:
    """Writes ``folder/name.py`` from the kind's template; never replaces an existing file."""
    template = files("ue_bench") / "templates" / f"{kind[:-1]}.py.txt"
    if not template.is_file():
        raise ConfigError(f"there is no template for {kind}: ue-bench new method NAME")
    stem = name.removesuffix(".py").replace("-", "_")
    if not stem.isidentifier() or keyword.iskeyword(stem):
        raise ConfigError(
            f"'{name}' cannot name a module: use letters, digits and underscores, such as my_method"
        )
    path = folder / f"{stem}.py"
    if path.exists():
        raise ConfigError(f"{path} exists already: take another name, or remove the file")
    words = "".join(part.capitalize() for part in stem.split("_"))
    content = template.read_text(encoding="utf-8").replace("ClassName", words)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror or error}. Name another folder: --to DIR"
        ) from error
    return path
