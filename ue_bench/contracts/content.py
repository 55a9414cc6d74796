"""What methods, victims, defenses and datasets share: frozen dataclasses, their fields the parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Content:
    """A named, configurable piece that the harness finds by its file.

    A constructor only stores parameters: the fields are the command line's overrides, the help, the columns
    of tables and the key of caches. Raise ConfigError in ``__post_init__`` for values that do not fit.

    Attributes:
        version: raise it when the same parameters give other results than before; records made by an older
            version are then done again.
    """

    version: ClassVar[int] = 1

    def parameters(self) -> dict[str, Any]:
        """Every field with its value."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def changed_parameters(self) -> dict[str, Any]:
        """The fields whose values differ from their defaults."""
        changed = {}
        for f in dataclasses.fields(self):
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            if getattr(self, f.name) != default:
                changed[f.name] = getattr(self, f.name)
        return changed
