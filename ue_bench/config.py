"""Configuration: a suite's YAML, a profile of it, and key=value words, checked against typed fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ue_bench.dimensions import BESIDE, DIMENSIONS, ROLES, SEED
from ue_bench.errors import ConfigError, unknown
from ue_bench.measures import FLOORS, HEADLINES, table_metrics

LISTS = ("dataset", "method", "victim", "defense", "poison_ratio", "plugins")
MAPPINGS = ("controls", "parameters", "floors", "table", "published")
PRINTED = ("paradigm", *BESIDE)  # keys of published


@dataclass
class TableConfig:
    """Which dimensions stand in a table's rows and columns, and which metrics in its cells."""

    rows: list[str] = field(default_factory=lambda: ["method"])
    columns: list[str] = field(default_factory=lambda: ["dataset"])
    metric: str = HEADLINES["supervised"]  # of a contrastive table that names none: the other headline
    metrics: list[str] = field(default_factory=list)  # several: a column each, the first leads in figures


@dataclass
class SuiteConfig:
    """What a suite's YAML may say: a grid of trials and the table that it fills."""

    title: str = ""
    source: str = ""  # paper and table
    paradigm: str = "supervised"
    dataset: list[Any] = field(default_factory=list)  # names, or {name: {parameter: value}}
    controls: dict[str, Any] = field(default_factory=dict)  # role, see ROLES -> method; always run
    method: list[Any] = field(default_factory=list)
    victim: list[Any] = field(default_factory=list)
    defense: list[Any] = field(default_factory=lambda: ["none"])
    poison_ratio: list[float] = field(default_factory=lambda: [1.0])
    seeds: int = 3  # how many
    seed: int = 0  # the first
    image_size: int | None = None  # pixels; null: as stored
    recipe: Any = "standard"  # a preset, or {preset: NAME, field: value}
    parameters: dict[str, Any] = field(
        default_factory=dict
    )  # {name: {parameter: value}} for whatever is so called
    floors: dict[str, Any] = field(default_factory=dict)  # train_accuracy, clean_accuracy: see FLOORS
    table: TableConfig = field(default_factory=TableConfig)
    published: dict[str, Any] = field(default_factory=dict)  # which printed numbers to stand beside
    default_profile: str = ""
    profiles: dict[str, Any] = field(default_factory=dict)  # name -> any of the keys above


@dataclass
class Config(SuiteConfig):
    """A suite together with what one run of it says: every key of the command line."""

    suite: str = ""
    profile: str = ""
    epsilon: float | None = None  # linf radius for every linf method: 8 or 8/255
    granularity: str | None = None  # class, cluster, image or pair, for every method that has it
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    executor: str = "local"
    time_limit: float | None = None  # seconds that one noise or one training may take; null: any
    store: str = "runs"  # a folder, or any fsspec address such as s3://bucket/run
    plugins: list[str] = field(default_factory=list)  # files and folders with more content
    asked: list[str] = field(default_factory=list)  # no key: names whose parameters the words set


KEYS = tuple(f.name for f in fields(Config) if f.name != "asked")
SUITE_KEYS = tuple(f.name for f in fields(SuiteConfig))
PROFILE_KEYS = tuple(key for key in SUITE_KEYS if key not in ("profiles", "default_profile", "paradigm"))


class Loader(yaml.SafeLoader):
    """YAML that says nothing twice: of equal keys the plain loader silently keeps the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, Any]] = set()
        for key, _ in node.value:
            said = key.tag, str(key.value)
            if said in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"key '{key.value}' stands twice (line {line}): make one of the two")
            seen.add(said)
        return node


def number(text: str) -> Any:
    """Reads a word of the command line as YAML, and a fraction such as ``8/255`` as a number."""
    if re.fullmatch(r"\d+(\.\d+)?/\d+", text.strip()):
        try:
            return float(Fraction(text.strip()))
        except ZeroDivisionError:
            raise ConfigError(f"{text} divides by zero") from None
    try:
        value = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"cannot read {text!r}: {str(error).splitlines()[0]}") from None
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)  # YAML 1.1 wants a dot in 5e-4
    return value


def parse_words(words: Iterable[str]) -> dict[str, Any]:
    """``["seeds=3", "em.rounds=5"]`` -> ``{"seeds": 3, "em.rounds": 5}``."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"cannot read '{word}': settings read key=value, such as seeds=3 or method=[em,ar]"
            )
        values[key.strip()] = number(text)
    return values


def read_suite(path: Path) -> dict[str, Any]:
    """A suite's YAML as a mapping, its keys checked."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ConfigError) as error:
        raise ConfigError(f"suite file {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"suite file {path} must hold keys and values, not {type(content).__name__}")
    _known(content, SUITE_KEYS, f"key in {path.name}")
    for name, profile in (content.get("profiles") or {}).items():
        _known(profile or {}, PROFILE_KEYS, f"key in profile '{name}' of {path.name}")
    return content


def compose(
    suite: str, content: Mapping[str, Any], words: Mapping[str, Any], parameterised: Iterable[str]
) -> Config:
    """Suite, then its profile, then the command line's words, as one checked configuration.

    Args:
        suite: its name.
        content: its YAML.
        words: from ``parse_words``; ``NAME.parameter`` and ``recipe.field`` reach inside.
        parameterised: names of content that has parameters, for ``NAME.parameter``.
    """
    profiles = content.get("profiles") or {}
    profile = str(words.get("profile") or content.get("default_profile") or "")
    if profile and profile not in profiles:
        raise unknown(f"profile of suite '{suite}'", profile, profiles)
    base = {key: value for key, value in content.items() if key not in ("profiles", "default_profile")}
    nested = _nest({key: value for key, value in words.items() if key != "profile"}, set(parameterised))
    layers = [base, profiles.get(profile) or {}, nested]
    config = OmegaConf.structured(Config)
    try:
        for layer in layers:
            config = _merge(config, layer)
        result: Any = OmegaConf.to_object(
            OmegaConf.merge(
                config, {"suite": suite, "profile": profile, "asked": sorted(nested.get("parameters", {}))}
            )
        )
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from None
    _check(result)
    return result


def _merge(config: Any, layer: Mapping[str, Any]) -> Any:
    """Lists and recipes replace, mappings of parameters add up."""
    layer = dict(layer)
    for key in LISTS:
        if key in layer and not isinstance(layer[key], (list, tuple)):
            layer[key] = [] if layer[key] is None else [layer[key]]
    for key in MAPPINGS:
        if key in layer and not isinstance(layer[key], Mapping):
            raise ConfigError(f"{key} must hold keys and values, not {layer[key]!r}")
    if isinstance(layer.get("recipe"), Mapping):
        before: Any = config.recipe
        before = {"preset": before} if isinstance(before, str) else OmegaConf.to_container(before)
        layer["recipe"] = {**before, **layer["recipe"]}
    if "recipe" in layer:
        config.recipe = None
    return OmegaConf.merge(config, layer)


def _nest(words: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """Turns ``em.rounds`` into parameters, ``recipe.epochs`` and ``floors.x`` into mappings."""
    nested: dict[str, Any] = {}
    for key, value in words.items():
        head, dot, tail = key.partition(".")
        if not dot and head in KEYS and head not in ("profiles", "default_profile"):
            nested[head] = value
        elif dot and head in ("recipe", "floors", "table"):
            nested.setdefault(head, {})
            if not isinstance(nested[head], dict):
                nested[head] = {"preset": nested[head]}
            nested[head][tail] = value
        elif dot and (head in names or head.partition(":")[0] in names):
            nested.setdefault("parameters", {}).setdefault(head, {})[tail] = value
        elif dot:
            raise unknown(
                "name", head, names, f"ue-bench list; in '{key}', '{head}' must be a name of content"
            )
        else:
            raise unknown("key", key, KEYS, "ue-bench run --help")
    return nested


def _known(mapping: Any, allowed: Iterable[str], what: str) -> None:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{what}: expected keys and values, not {mapping!r}")
    for key in mapping:
        if key not in allowed:
            raise unknown(what, str(key), allowed)


def _check(config: Config) -> None:
    for key in ("dataset", "method", "victim", "defense", "poison_ratio"):
        if not getattr(config, key) and not (key == "method" and config.controls):
            raise ConfigError(f"{key} is empty: a suite needs at least one {key}")
    for ratio in config.poison_ratio:
        if not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
            raise ConfigError(f"poison_ratio is a share between 0 and 1, not {ratio!r}")
    if config.seeds < 1:
        raise ConfigError(f"seeds says how many and must be at least 1, not {config.seeds}")
    if config.time_limit is not None and config.time_limit <= 0:
        raise ConfigError(f"time_limit is in seconds and above 0, not {config.time_limit:g}; null means none")
    if config.image_size is not None and config.image_size < 8:
        raise ConfigError(f"image_size must be at least 8 pixels, not {config.image_size}")
    for name, floor in config.floors.items():
        if name not in FLOORS:
            raise unknown("floor", name, FLOORS)
        if not isinstance(floor, (int, float, dict)):
            raise ConfigError(f"floors.{name} must be a number in percent, not {floor!r}")
    _check_table(config)


def _check_table(config: Config) -> None:
    """Everything that would otherwise be found when all is trained and the table stays empty."""
    table = config.table
    asked = [*table.metrics, *([table.metric] if table.metric != HEADLINES["supervised"] else [])]
    allowed = table_metrics(config.paradigm) or asked  # an unknown paradigm is told of elsewhere
    for what, words, known in (
        (f"metric of {config.paradigm} training in table", asked, allowed),
        ("dimension in table.rows", table.rows, (*DIMENSIONS, SEED)),
        ("dimension in table.columns", table.columns, (*DIMENSIONS, SEED)),
        ("role in controls", config.controls, ROLES),
        ("key of published", config.published, PRINTED),
    ):
        for word in words:
            if word not in known:
                raise unknown(what, str(word), known)
