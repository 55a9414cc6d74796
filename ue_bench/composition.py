"""Names such as ``jpeg+grayscale``: several defenses as one, each with parameters of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ue_bench.errors import ConfigError, unknown
from ue_bench.reading import Reading

KIND, JOINT = "defenses", "+"
MODULE, PATH = "ue_bench.contracts.composed", Path(__file__).parent / "contracts" / "composed.py"


def is_composed(kind: str, name: str) -> bool:
    """True for the name of several defenses."""
    return kind == KIND and JOINT in name


def parts_of(name: str) -> list[str]:
    """The parts' names in order; ConfigError for an empty or repeated one."""
    parts = name.split(JOINT)
    if not all(parts):
        raise ConfigError(f"defense '{name}' has an empty part: join names, such as a{JOINT}b")
    for part in parts:
        if parts.count(part) > 1:
            raise ConfigError(f"defense '{name}' names '{part}' twice: each part acts once")
    return parts


def create(name: str, parameters: Mapping[str, Any], make: Callable[[str, Any], Any]) -> Any:
    """A ``Composed`` of configured parts.

    Args:
        name: the parts' names, joined by +; they act in this order.
        make: (part, its parameters or None) -> the defense.
        parameters: {part: {parameter: value}}.

    Raises:
        ConfigError: for a part or parameter that does not exist, and for parts that cannot act in this order.
    """
    from ue_bench.contracts.composed import Composed

    _check_parts(name, parameters)
    return Composed(tuple(make(part, parameters.get(part)) for part in parts_of(name)))


def join(readings: Mapping[str, Reading]) -> Reading:
    """Combines the readings of the parts' sources into one, as if they were a single piece of content."""
    docstring = "\n\n".join(
        [
            f"Several defenses, in this order: {', then '.join(readings)}.",
            *(f"{part}: {reading.docstring.strip()}" for part, reading in readings.items()),
        ]
    )
    parameters = tuple(
        replace(item, name=f"{part}.{item.name}")
        for part, reading in readings.items()
        for item in reading.parameters
    )
    requires = tuple(dict.fromkeys(package for reading in readings.values() for package in reading.requires))
    return Reading(KIND, "Composed", docstring, parameters, {}, requires)


def merge_parameters(
    name: str,
    given: Mapping[str, Any],
    everywhere: Mapping[str, Mapping[str, Any]],
    presets: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """{part: {parameter: value}} from all the places where a run may set them; the last place wins.

    Args:
        name: the composed defense's name.
        given: parameters given beside the name: ``{part: {parameter: value}}``.
        everywhere: {name: {parameter: value}}, where a name is a part's or the composed defense's.
        presets: {part: {parameter: value}} that the run's profile sets.
    """
    layers: Sequence[Mapping[str, Any]] = (everywhere.get(name) or {}, given)
    for layer in layers:
        _check_parts(name, layer)
    return {
        part: {
            **presets.get(part, {}),
            **(everywhere.get(part) or {}),
            **{key: value for layer in layers for key, value in (layer.get(part) or {}).items()},
        }
        for part in parts_of(name)
    }


def preset_of(content: type, profile: str, paradigm: str) -> Mapping[str, Any]:
    """The parameters that a profile sets: the preset ``PARADIGM PROFILE``, else ``PROFILE``, else none."""
    presets: Mapping[str, Mapping[str, Any]] = getattr(content, "presets", {})
    return presets.get(f"{paradigm} {profile}", presets.get(profile, {}))


def _check_parts(name: str, parameters: Mapping[str, Any]) -> None:
    """Raises ConfigError unless each key is a part and each value a mapping of its parameters."""
    names = parts_of(name)
    for key, values in parameters.items():
        if key not in names:
            raise unknown(f"part of defense '{name}'", str(key), names)
        if values is not None and not isinstance(values, Mapping):
            raise ConfigError(f"{name}.{key} must hold the parameters of '{key}', not {values!r}")
