"""Reads what a module of content offers without importing it: listing is quick, and a broken file does no harm."""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ue_bench.bounds import NAMED, Norms, Range, read_type

SOURCES = re.compile(r"\b(ours?|papers?(?!')|codes?|released|configurations)\b", re.IGNORECASE)
CONTRACTS = {"Method": "methods", "Victim": "victims", "Defense": "defenses", "Dataset": "datasets"}


@dataclass(frozen=True)
class Parameter:
    """One field of a content class, as written in the source.

    Attributes:
        name: the field's name.
        type: its annotation.
        default: its default, as source text.
        comment: the comment after it: meaning, unit, source.
        allowed: what its type allows, in words: "in the range 1 to 100", "one of scale, clamp"; or "".
        elsewhere: {paradigm: default as source text} where a paradigm has a default of its own.
    """

    name: str
    type: str
    default: str
    comment: str
    allowed: str = ""
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Who says the default, by the words of the comment: ``paper``, ``code`` (the authors') or ``default`` (ours).

        Example: ``our cap, the paper has none`` is ours, ``steps of 1/255; paper. Contrastive: MEM's code`` a paper's.
        """
        words = [word.lower() for word in SOURCES.findall(self.comment)]
        if not words or words[0].startswith("our"):
            return "default"
        return "paper" if any(word.startswith("paper") for word in words) else "code"


@dataclass(frozen=True)
class Reading:
    """What a module's source says about its content.

    Attributes:
        kind: methods, victims, defenses or datasets; "" if it offers none of them.
        class_name: the class that implements the contract.
        docstring: the class's docstring.
        parameters: its fields, inherited ones first.
        declarations: class variables by name, as source text.
        requires: top-level packages imported at the module's top.
    """

    kind: str
    class_name: str
    docstring: str
    parameters: tuple[Parameter, ...]
    declarations: dict[str, str]
    requires: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return self.docstring.strip().splitlines()[0] if self.docstring.strip() else ""

    @property
    def argument(self) -> str:
        """The parameter that ``NAME:ARGUMENT`` sets, as the class variable ``argument`` says; "" for none."""
        return self.declarations.get("argument", "").strip("'\"")


class _Module:
    """A parsed source file: its classes, and the origin of its imported names."""

    def __init__(self, path: Path, package: str, source: str):
        self.path, self.package, self.source = path, package, source
        tree = ast.parse(self.source, filename=str(path))
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.aliases = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        self.imports: dict[str, tuple[str, str]] = {}
        self.requires: list[str] = []
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                self.imports.update(
                    {alias.asname or alias.name: (module, alias.name) for alias in node.names}
                )
                if not node.level and node.module:
                    self.requires.append(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                self.imports.update({alias.asname or alias.name: (alias.name, "") for alias in node.names})
                self.requires.extend(alias.name.split(".")[0] for alias in node.names)

    @functools.cached_property
    def comments(self) -> dict[int, str]:
        """The comment of each line that has one."""
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        return {
            token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT
        }

    def origin(self, base: ast.expr) -> tuple[str, str]:
        """(module, class) of a base class; the module is "" for one of this file."""
        if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
            module, inner = self.imports.get(base.value.id, (base.value.id, ""))
            return (f"{module}.{inner}" if inner else module), base.attr
        if isinstance(base, ast.Name):
            return ("", base.id) if base.id in self.classes else self.imports.get(base.id, ("", base.id))
        return "", ""

    def neighbour(self, module: str) -> _Module | None:
        """The module that a base class comes from, if its file can be found without importing it."""
        if module.startswith(".") and self.package:
            root, name = self.package, module.lstrip(".")
        elif "." in module:
            root, _, name = module.partition(".")
        else:
            return None
        spec = importlib.util.find_spec(root)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder, *name.split(".")).with_suffix(".py")
            if path.is_file():
                return _open(path, root)
        return None


def _open(path: Path, package: str = "") -> _Module:
    """The module at a path; an unchanged file is parsed only once in a process."""
    return _parse(path, package, path.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=512)
def _parse(path: Path, package: str, source: str) -> _Module:
    return _Module(path, package, source)


def read_module(path: Path, package: str = "") -> Reading:
    """Reads the content class of a source file.

    If there are several classes, the one named like the file counts, else the last public one.

    Args:
        path: the file.
        package: the package it belongs to, for relative imports; "" for a lone file.

    Raises:
        SyntaxError, OSError, ValueError, RecursionError, MemoryError, tokenize.TokenError: if the file is broken.
    """
    module = _open(path, package)
    found = []
    for name, node in module.classes.items():
        lineage = _lineage(module, node)
        if lineage and not name.startswith("_"):
            found.append((name, *lineage))
    wanted = path.stem.replace("_", "").lower()
    found.sort(key=lambda item: item[0].lower() == wanted)
    if not found:
        return Reading(
            "", "", ast.get_docstring(ast.parse(module.source)) or "", (), {}, tuple(module.requires)
        )
    name, kind, classes = found[-1]
    parameters: dict[str, Parameter] = {}
    declarations: dict[str, str] = {}
    for owner, node in reversed(classes):
        fields, constants = _fields(owner, node)
        parameters.update(fields)
        declarations.update(constants)
        for paradigm, values in _defaults(constants.get("defaults", "")).items():
            for field_name in values.keys() & parameters.keys():
                known = parameters[field_name]
                elsewhere = {**known.elsewhere, paradigm: repr(values[field_name])}
                parameters[field_name] = replace(known, elsewhere=elsewhere)
    docstring = next((text for _, node in classes[:-1] if (text := ast.get_docstring(node))), "")
    return Reading(kind, name, docstring, tuple(parameters.values()), declarations, tuple(module.requires))


def _lineage(
    module: _Module, node: ast.ClassDef, below: tuple[tuple[Path, str], ...] = ()
) -> tuple[str, list[tuple[_Module, ast.ClassDef]]] | None:
    """(kind, [(module, class), then its bases, the contract last]), or None for other classes.

    Args:
        module: the module that holds the class.
        node: the class.
        below: file and name of each class that derives from it, to find circles.

    Raises:
        ValueError: if a class derives from itself.
    """
    path = (*below, (module.path, node.name))
    if path[-1] in below:
        raise ValueError(f"classes derive from each other in a circle: {', '.join(name for _, name in path)}")
    for base in node.bases:
        origin, name = module.origin(base)
        if name in CONTRACTS and origin.split(".")[0] == "ue_bench":
            contract = _open(Path(__file__).parent / "contracts" / f"{name.lower()}.py")
            return CONTRACTS[name], [(module, node), (contract, contract.classes[name])]
        source = module if not origin else module.neighbour(origin)
        if source and name in source.classes and source.classes[name] is not node:
            above = _lineage(source, source.classes[name], path)
            if above:
                return above[0], [(module, node), *above[1]]
    return None


@functools.lru_cache(maxsize=2048)
def _fields(module: _Module, node: ast.ClassDef) -> tuple[dict[str, Parameter], dict[str, str]]:
    comments = module.comments
    parameters, declarations = {}, {}
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            kind, name = ast.unparse(statement.annotation), statement.target.id
            value = ast.unparse(statement.value) if statement.value else ""
            if "ClassVar" in kind:
                declarations[name] = value
            else:
                lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
                comment = " ".join(comments[line] for line in lines if line in comments)
                allowed = str(read_type(_annotation(statement.annotation, module)))
                parameters[name] = Parameter(name, kind, value, comment, allowed)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            declarations[statement.targets[0].id] = ast.unparse(statement.value)
    return parameters, declarations


TYPES: Mapping[str, Any] = {
    **NAMED,
    **{kind.__name__: kind for kind in (int, float, bool, str, tuple, Range, Norms)},
    "Annotated": Annotated,
    "Budget": object,
    "Literal": Literal,
    "None": None,
}


def _annotation(node: ast.expr, module: _Module) -> Any:
    """The type that an annotation means if it consists of the words in TYPES only, else None."""
    try:
        return _evaluated(node, module)
    except (ValueError, TypeError, KeyError, SyntaxError):
        return None


def _evaluated(node: ast.expr, module: _Module) -> Any:
    """Builds a type from its words without running the module's code."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return _evaluated(module.aliases[node.id], module) if node.id in module.aliases else TYPES[node.id]
    if isinstance(node, ast.Subscript):
        return _evaluated(node.value, module)[_evaluated(node.slice, module)]
    if isinstance(node, ast.Tuple):
        return tuple(_evaluated(item, module) for item in node.elts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _evaluated(node.left, module) | _evaluated(node.right, module)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Range", "Norms"):
        arguments = [ast.literal_eval(item) for item in node.args]
        return TYPES[node.func.id](
            *arguments, **{str(item.arg): ast.literal_eval(item.value) for item in node.keywords}
        )
    raise ValueError(ast.unparse(node))


def _defaults(source: str) -> Mapping[str, Mapping[str, Any]]:
    """{paradigm: {field: default}} from the class variable ``defaults``, if it is a literal."""
    try:
        return ast.literal_eval(source) if source else {}
    except ValueError:
        return {}
