"""Checks the parameters that a suite sets by name before any work: under a misspelt name they would not be used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ue_bench.composition import KIND, is_composed
from ue_bench.errors import ConfigError, unknown
from ue_bench.reading import Reading
from ue_bench.registry import KINDS, Registry


def check_parameters(parameters: Mapping[str, Any], registry: Registry, unused: Collection[str] = ()) -> None:
    """Raises ConfigError for names that are no content, parameters that do not exist, and unused names.

    Args:
        parameters: {name: {parameter: value}}; a name such as ``timm:NAME`` or ``a+b``, whether or not the content
            takes part in the run.
        registry: the content that exists.
        unused: names whose parameters the command line sets, though they take no part in the run.
    """
    for name in sorted(unused):
        raise ConfigError(
            f"'{name}' has parameters set, but takes no part in this run: add it or leave them out"
        )
    readings: dict[str, list[Reading]] = {}
    for entry in (*(entry for kind in KINDS for entry in registry.entries(kind)), *registry.unavailable):
        if entry.kind != "suites":
            readings.setdefault(entry.name, []).extend([entry.reading] if entry.reading else [])
    for name, values in parameters.items():
        if is_composed(KIND, name):
            registry.find(KIND, name)
            continue  # its parts take {part: {parameter: value}}, which is checked where they are made
        stem = name.partition(":")[0]
        if stem not in readings:
            raise unknown("name in parameters", name, readings, "ue-bench list")
        fields = {item.name for reading in readings[stem] for item in reading.parameters}
        for key in values or {}:
            if readings[stem] and key not in fields:
                raise unknown(f"parameter of '{name}'", str(key), fields)


def check_role(role: str, name: str, method: Any, registry: Registry) -> None:
    """Raises ConfigError unless the method declares the role of a control and its settings suit the role.

    Args:
        role: ``clean`` shows what a victim learns from unchanged data, ``random`` what noise without a method does,
            ``share`` what a victim learns from the unprotected images alone.
        name: the method's name.
        method: the configured method.
        registry: the registry with the methods that can play the role.
    """
    if method.control != role:
        able = [
            entry.name
            for entry in registry.entries("methods")
            if entry.reading and entry.reading.declarations.get("control", "").strip("'\"") == role
        ]
        allowed = f"say {' or '.join(able)}" if able else "no method declares it"
        raise ConfigError(
            f"{name} cannot be the control '{role}': its class does not declare control = '{role}'; {allowed}"
        )
    if method.budget.empty != (role != "random") or method.withholds != (role == "share"):
        raise ConfigError(
            f"{name} with the budget '{method.budget}' cannot be the control '{role}': the control of random noise "
            "needs a budget, the others make no noise, and only the control of a share withholds images"
        )
