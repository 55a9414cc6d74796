"""Finds methods, victims, defenses, datasets and suites: listed without importing, imported when asked for."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ue_bench import composition
from ue_bench.bounds import Kind, kinds
from ue_bench.config import parse_words
from ue_bench.contracts.content import PLUGIN
from ue_bench.errors import ConfigError, UnavailableError, unknown
from ue_bench.reading import Reading, read_module
from ue_bench.sources import source_hash

if TYPE_CHECKING:
    from ue_bench.contracts.dataset import Dataset

KINDS = ("methods", "victims", "defenses", "datasets", "suites")
GROUP = "ue_bench.plugins"
NOTHING = "no class in it derives from ue_bench.Method, Victim, Defense or Dataset"


@dataclass(frozen=True)
class Entry:
    """A piece of content that can be asked for by name.

    Attributes:
        kind: one of KINDS; "" if a broken file hides it.
        name: the file's stem, or ``STEM:ARGUMENT`` if it was asked for in this form.
        path: the file.
        module: its import name; "" for a lone file and for suites.
        origin: the plug-in that provides it.
        reading: what the source says, or None for suites and broken files.
        problem: why it cannot be used, or "".
        argument: the part of the name after the colon, or "".
    """

    kind: str
    name: str
    path: Path
    module: str = ""
    origin: str = ""
    reading: Reading | None = None
    problem: str = ""
    argument: str = ""

    @property
    def summary(self) -> str:
        """One line for lists."""
        if self.reading:
            return self.reading.summary
        if self.kind == "suites":
            first = self.path.read_text(encoding="utf-8", errors="replace").splitlines()[:1]
            return first[0].lstrip("# ").strip() if first else ""
        return ""


class Registry:
    """All content of the installed plug-ins and of the files named on the command line.

    Args:
        plugins: files (``path/to/file.py``, a suite's ``.yaml``) or folders of such files, beside the packages
            that installed distributions declare in the entry-point group ``ue_bench.plugins``.
    """

    def __init__(self, plugins: Iterable[str | Path] = ()):
        self.plugins = tuple(str(plugin) for plugin in plugins)
        self._entries: dict[tuple[str, str], Entry] = {}
        self.unavailable: list[Entry] = []
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.value, point.name)):
            self._add_package(point.value)
        for plugin in self.plugins:
            self._add_path(Path(plugin))

    def names(self, kind: str) -> list[str]:
        """Names of a kind, sorted."""
        return sorted(name for of, name in self._entries if of == kind)

    def entries(self, kind: str) -> list[Entry]:
        """Entries of a kind, sorted by name."""
        return [self._entries[kind, name] for name in self.names(kind)]

    def measured(self) -> tuple[str, ...]:
        """The victims that ``ue-bench bench`` measures where none is named: ``MEASURED`` of their packages."""
        packages = sorted({entry.origin for entry in self.entries("victims") if entry.module})
        modules = [sys.modules.get(name) or importlib.import_module(name) for name in packages]
        return tuple(name for module in modules for name in getattr(module, "MEASURED", ()))

    def parameters(self) -> dict[str, str]:
        """``NAME.parameter`` -> its annotation, of all methods, victims, defenses and datasets."""
        return {
            f"{entry.name}.{item.name}": item.type
            for entry in self._entries.values()
            if entry.reading
            for item in entry.reading.parameters
        }

    def find(self, kind: str, name: str) -> Entry:
        """The entry of that name.

        ``STEM:ARGUMENT`` sets the parameter, a str, that the content's class variable ``argument`` names. The
        content checks the argument when an instance is made. ``one+other`` names defenses that act in this order.

        Raises:
            ConfigError: for an unknown name; the message gives the nearest names.
            UnavailableError: for content that cannot be used, with the reason.
        """
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
        if composition.is_composed(kind, name):
            found = {part: self.find(kind, part).reading for part in composition.parts_of(name)}
            reading = composition.join({part: one for part, one in found.items() if one})
            return Entry(kind, name, composition.PATH, composition.MODULE, reading=reading)
        stem, colon, argument = name.partition(":")
        entry = self._entries.get((kind, stem))
        if entry is None:
            for broken in self.unavailable:
                if broken.name == stem and broken.kind in ("", kind):
                    raise UnavailableError(f"'{stem}' ({broken.path}) is unavailable: {broken.problem}")
            raise unknown(kind[:-1], stem, self.names(kind), f"ue-bench list {kind}")
        if not colon:
            return entry
        if not entry.reading or not entry.reading.argument:
            raise ConfigError(f"{kind[:-1]} '{stem}' takes no argument: say {stem}, not {name}")
        return dataclasses.replace(entry, name=name, argument=argument)

    def find_any(self, name: str) -> Entry:
        """The entry of that name, where one kind only has it.

        Raises:
            ConfigError: for an unknown name, and for one of several kinds; the message gives the kinds.
            UnavailableError: for content that cannot be used, with the reason.
        """
        stem = name.partition(":")[0]
        having = [of for of in KINDS if composition.is_composed(of, name) or (of, stem) in self._entries]
        broken = [each.kind or KINDS[0] for each in self.unavailable if each.name == stem]
        having = having or list(dict.fromkeys(broken))
        if len(having) > 1:
            commands = " or ".join(f"ue-bench show {kind[:-1]} {name}" for kind in having)
            raise ConfigError(
                f"there is a {' and a '.join(kind[:-1] for kind in having)} '{name}': say {commands}"
            )
        if having:
            return self.find(having[0], name)
        if name in KINDS or f"{name}s" in KINDS:
            kind = name.removesuffix("s")
            raise ConfigError(f"which {kind}? Say ue-bench show {kind} NAME. See: ue-bench list {kind}s")
        names = {known for _, known in self._entries}
        raise unknown("method, victim, defense, dataset or suite", stem, names, "ue-bench list")

    def load(self, kind: str, name: str) -> type:
        """Imports the content class of that name."""
        entry = self.find(kind, name)
        assert entry.reading is not None
        try:
            if not composition.is_composed(kind, name):
                self.source(kind, name)  # hashed before anybody changes the file
            return getattr(_import(entry), entry.reading.class_name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # importing a module may raise anything, SystemExit included
            reason = f"{type(error).__name__}: {error}"
            raise UnavailableError(
                f"{kind[:-1]} '{name}' ({entry.path}) cannot be imported: {reason}"
            ) from error

    def source(self, kind: str, name: str) -> str:
        """A hash of the code behind it, see ``sources.source_hash``, as it was when this process first asked."""
        if composition.is_composed(kind, name):
            return "+".join(self.source(kind, part) for part in composition.parts_of(name))
        entry = self.find(kind, name)
        return source_hash(entry.path, entry.module, entry.origin if entry.module else "")

    def create(
        self, kind: str, name: str, parameters: Mapping[str, Any] | None = None, paradigm: str = ""
    ) -> Any:
        """An instance with these parameters; for an unknown parameter, ConfigError names the nearest ones.

        A method's other parameters have the paradigm's defaults, or the fields' defaults without a paradigm.
        """
        if composition.is_composed(kind, name):
            return composition.create(name, parameters or {}, functools.partial(self.create, kind))
        content = self.load(kind, name)
        fields = kinds(content)
        given = {**(parameters or {}), **self._named(kind, name, parameters or {})}
        if kind == "methods":
            given = content.complete(paradigm, given)  # type: ignore[attr-defined]
        values = {}
        for key, value in given.items():
            if key not in fields:
                hint = f"ue-bench show {kind[:-1]} {name}"
                raise unknown(f"parameter of {kind[:-1]} '{name}'", key, fields, hint)
            values[key] = convert(value, fields[key], f"{name}.{key}")
        try:
            made = content(**values)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{kind[:-1]} '{name}' does not accept {values}: {error}") from error
        return self._with_source(made) if kind == "datasets" else made

    def _with_source(self, dataset: Dataset) -> Dataset:
        """The dataset; if it changes another one, with that one as its source."""
        made_from = dataset.made_from()
        if made_from is None:
            return dataset
        name, words = made_from
        return dataset.with_source(self.create("datasets", name, parse_words(words)))

    def _named(self, kind: str, name: str, parameters: Mapping[str, Any]) -> dict[str, str]:
        """The parameter that the name sets; ConfigError if a required one is missing or another value is given too."""
        entry = self.find(kind, name)
        key = entry.reading.argument if entry.reading else ""
        if not key:
            return {}
        if not entry.argument:
            stem = name.rstrip(":")
            raise ConfigError(
                f"{kind[:-1]} '{stem}' needs its {key} in its name: say {stem}:{key.upper()}. "
                f"See: ue-bench show {kind[:-1]} {stem}"
            )
        if parameters.get(key, entry.argument) != entry.argument:
            raise ConfigError(
                f"{name}.{key} is '{entry.argument}', as the name says, and cannot be {parameters[key]!r} too"
            )
        return {key: entry.argument}

    def _add_package(self, package: str) -> None:
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError) as error:
            spec, problem = None, f"{type(error).__name__}: {error}"
        else:
            problem = "the package is not installed"
        if spec is None:
            self.unavailable.append(Entry("", package, Path(package), problem=problem))
            return
        for folder in spec.submodule_search_locations or []:
            for path in sorted(Path(folder).rglob("*")):
                inside = path.relative_to(folder)
                if any(part.startswith(("_", ".")) for part in inside.parts):
                    continue
                module = ".".join((package, *inside.with_suffix("").parts))
                self._add_file(path, package, module if path.suffix == ".py" else "")
        if spec.submodule_search_locations is None and spec.origin:
            self._add_file(Path(spec.origin), package, package)

    def _add_path(self, path: Path) -> None:
        if path.is_dir():
            for inner in sorted(path.glob("*")):
                if not inner.name.startswith(("_", ".")):
                    self._add_file(inner, str(path))
        elif path.is_file() and path.suffix in (".py", ".yaml", ".yml"):
            if not self._add_file(path, str(path)):
                problem = self.unavailable[-1].problem if self.unavailable else ""
                raise ConfigError(
                    f"plug-in {path} offers nothing: {problem or NOTHING}. See: ue-bench new method NAME"
                )
        else:
            raise ConfigError(f"plug-in {path} is neither a file ending in .py or .yaml nor a folder")

    def _add_file(self, path: Path, origin: str, module: str = "") -> bool:
        name, suite = path.stem, path.suffix in (".yaml", ".yml")
        if not suite and path.suffix != ".py":
            return False
        try:
            if not path.is_file():
                raise OSError("it is not a file")
            if suite:
                path.open("rb").close()
                self._keep(Entry("suites", name, path, origin=origin))
                return True
            reading = read_module(path, origin if module else "")
        except Exception as error:  # a broken file must not keep the others from being listed
            problem = f"{type(error).__name__}: {error}"
            kind = "suites" if suite else ""
            self.unavailable.append(Entry(kind, name, path, module, origin, problem=problem))
            return False
        if not reading.kind:
            return False
        missing = [package for package in reading.requires if not _installed(package)]
        if missing:
            problem = f"it needs the package {' and '.join(missing)}: pip install {' '.join(missing)}"
            self.unavailable.append(Entry(reading.kind, name, path, module, origin, reading, problem))
            return True
        self._keep(Entry(reading.kind, name, path, module, origin, reading))
        return True

    def _keep(self, entry: Entry) -> None:
        other = self._entries.get((entry.kind, entry.name))
        if other is not None and other.path.resolve() != entry.path.resolve():
            raise ConfigError(
                f"two {entry.kind} are called '{entry.name}': {other.path} and {entry.path}; rename one file"
            )
        self._entries[entry.kind, entry.name] = entry


def convert(value: Any, kind: Kind, where: str) -> Any:
    """Converts a configured value to its field's type; raises ConfigError if that is not possible."""
    from ue_bench.contracts.budget import Budget

    base = kind.base
    if base is Budget:
        return Budget.parse(value)
    if value is None and kind.optional:
        return None
    if base is str and value is None:
        return ""  # NAME.parameter= on the command line, as a shell passes NAME.parameter=""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if base is float and number:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(
                f"{where} must be a finite number, not one of {len(str(value))} digits"
            ) from None
    if base is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if base is tuple:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if base is str and number:
        return str(value)
    if base in (int, float, bool, str) and (
        not isinstance(value, base) or (base is not bool and isinstance(value, bool))
    ):
        word = {int: "a whole number", float: "a number"}.get(base, base.__name__)
        raise ConfigError(f"{where} must be {word}, not {value!r}")
    return value


def _import(entry: Entry) -> Any:
    """Imports the entry's module. Settings of the process that the import changes are restored, with a warning."""
    from ue_bench.process import restored

    changed: list[str] = []
    with restored(changed.append):
        module = importlib.import_module(entry.module) if entry.module else _import_file(entry.path)
    if changed:
        warnings.warn(
            f"importing {entry.path} changed {' and '.join(changed)}, and this was undone: all share this process",
            RuntimeWarning,
            stacklevel=3,
        )
    return module


@functools.cache
def _installed(package: str) -> bool:
    if package in sys.builtin_module_names or package in sys.stdlib_module_names or package in sys.modules:
        return True
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _import_file(path: Path) -> Any:
    """Imports a lone file once, under a name of its own, by which pickle finds it again in this process."""
    name = f"{PLUGIN}{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and Path(str(loaded.__file__)).resolve() == path.resolve():
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
