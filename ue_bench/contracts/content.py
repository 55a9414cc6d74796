"""What methods, victims, defenses and datasets share: frozen dataclasses, their fields the parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ue_bench.bounds import check_fields
from ue_bench.canonical import digest, hash_path

PLUGIN = "ue_bench_plugin_"  # before the stem in the module name of a lone file


@dataclass(frozen=True)
class Content:
    """A named, configurable piece that the harness finds by its file.

    A constructor only stores parameters: the fields are the command line's overrides, the help, the columns
    of tables and the key of caches. A field's type says which values it may have (``rounds: Count = 20``, see
    ``ue_bench.bounds``); what depends on several fields is checked in ``__post_init__``, which calls super's first
    and raises ConfigError.

    Attributes:
        version: raise it when the same parameters give other results than before; records made by an older
            version are then done again.
        files: fields that name a local file or folder, or are empty; other content in it gives other results.
    """

    version: ClassVar[int] = 1
    files: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        name = stem_of(type(self))
        contract = type(self).__mro__[type(self).__mro__.index(Content) - 1].__name__.lower()
        check_fields(self, name, f"ue-bench show {contract} {name}")

    @property
    def name(self) -> str:
        """Its name on the command line: its file's stem, and after a colon the ``argument`` if it takes one.

        It follows from the class and the parameters, so copies and other processes have the same name.
        """
        stem, key = stem_of(type(self)), getattr(self, "argument", "")
        return f"{stem}:{getattr(self, key)}" if key else stem

    def edition(self) -> int | str:
        """The version, followed by a hash of the content of the files that take part, if any: ``1+5f0c...``.

        A missing file is left out here; the code that reads the file reports it.
        """
        paths = [Path(getattr(self, name)) for name in sorted(self.files) if getattr(self, name)]
        found = [hash_path(path) for path in paths if path.exists()]
        return f"{self.version}+{digest(found)}" if found else self.version

    def unavailable(self) -> str:
        """Why this machine cannot do what the parameters ask for, and what to install or set, or "".

        It is called before a run, so it must be quick. A fault that only the work itself can show is reported then.
        """
        return ""

    def parameters(self) -> dict[str, Any]:
        """Every field with its value."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """Fields that ids and records leave out, since the results are those from before the field was there."""
        return frozenset()

    def recorded(self, paradigm: str = "") -> dict[str, Any]:
        """The parameters as trial ids hash them and records keep them."""
        out = self.left_out(paradigm)
        return {name: value for name, value in self.parameters().items() if name not in out}

    def changed_parameters(self) -> dict[str, Any]:
        """The fields whose values differ from their defaults."""
        changed = {}
        for f in dataclasses.fields(self):
            if getattr(self, f.name) != default_of(f):
                changed[f.name] = getattr(self, f.name)
        return changed


def default_of(field: dataclasses.Field) -> Any:
    """A field's default; MISSING if it has none."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def stem_of(kind: type) -> str:
    """The stem of the file that a class is in, which is its name."""
    return kind.__module__.rpartition(".")[2].removeprefix(PLUGIN)
