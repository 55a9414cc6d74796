"""Checks a suite's floors before any work, because a floor under a misspelt name would not be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ue_bench.composition import KIND, is_composed
from ue_bench.errors import ConfigError, unknown
from ue_bench.registry import Registry

DEFAULT = "default"
KINDS = ("datasets", "victims", KIND)  # the order in which a trial's floor is looked up


def check_floors(floors: Mapping[str, Any], registry: Registry) -> None:
    """Raises ConfigError for a floor that is not a number, and for a name that is no dataset, victim or defense.

    Args:
        floors: {metric: floor}; a floor is a number, or {NAME: floor} with names of datasets, victims (such as
            ``timm:NAME``), defenses or ``default``.
        registry: the content that exists.
    """
    names = {*(name for kind in KINDS for name in registry.names(kind)), DEFAULT}
    for metric, stated in floors.items():
        _check(f"floors.{metric}", stated, names, registry)


def _check(where: str, stated: Any, names: set[str], registry: Registry) -> None:
    if isinstance(stated, Mapping):
        for name, inner in stated.items():
            name = str(name)
            if is_composed(KIND, name):
                registry.find(KIND, name)
            elif name.partition(":")[0] not in names:
                raise unknown(f"dataset, victim or defense in {where}", name, names)
            _check(f"{where}.{name}", inner, names, registry)
    elif isinstance(stated, bool) or not isinstance(stated, (int, float)):
        raise ConfigError(
            f"{where} must be a number, or numbers by dataset, victim or defense, not {stated!r}"
        )
