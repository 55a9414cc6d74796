"""A hash of the code behind a piece of content, by which a record identifies the code that made it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def source_hash(path: Path, module: str = "", package: str = "") -> str:
    """16 hexadecimal digits of a module's code and of all code in its package that it imports, directly or not.

    Comments, docstrings and blank lines do not count. The hash is cached for this process, like its imports.

    Args:
        path: the module's file.
        module: its import name; "" for a lone file, which is hashed alone.
        package: the package within which imports are followed.
    """
    content = hashlib.sha256()
    for name, file in sorted(_closure(path, module, package).items()):
        content.update(f"{name}\n{bare(file.read_text(encoding='utf-8'))}\n".encode())
    return content.hexdigest()[:16]


def bare(code: str) -> str:
    """Code without comments, docstrings and blank lines.

    Example: ``bare("x = 1  # one\\n\\n# two\\n")`` is ``"x = 1"``.
    """
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if first and first.end_lineno and ast.get_docstring(node) is not None:
                lines[first.lineno - 1 : first.end_lineno] = [""] * (first.end_lineno - first.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _closure(path: Path, module: str, package: str) -> dict[str, Path]:
    """Files by import name: the module's file and those of its package that it imports, directly or not."""
    spec = importlib.util.find_spec(package) if package else None
    roots = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found, waiting = {}, {module: path}
    while waiting:
        name, file = waiting.popitem()
        found[name] = file
        for other in _imports(file, name):
            if package and other.startswith(f"{package}.") and other not in found:
                place = _find(roots, other.removeprefix(f"{package}.").split("."))
                if place is not None:
                    waiting[other] = place
    return found


def _find(roots: list[Path], parts: list[str]) -> Path | None:
    for root in roots:
        for file in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
            if file.is_file():
                return file
    return None


def _imports(file: Path, module: str) -> Iterator[str]:
    """Absolute names of everything that a file imports; each name in a ``from`` import may be a module itself."""
    inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level and inside:
                above = inside.rsplit(".", node.level - 1)[0]
                start = f"{above}.{start}" if start else above
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)
