"""Configuration: a suite's YAML, a profile of it, and key=value words, checked against typed fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ue_bench.bounds import check_minutes, check_threads
from ue_bench.dimensions import BESIDE, DIMENSIONS, ROLES, SEED
from ue_bench.errors import ConfigError, unknown
from ue_bench.measures import FLOORS, HEADLINES, table_metrics
from ue_bench.words import Loader, number, read_duration, read_names, read_plugins, split_words

AS_TYPED = (
    "suite",
    "profile",
    "paradigm",
    "title",
    "source",
    "device",
    "executor",
    "workers",
    "ray_address",
    "gpus_per_trial",
    "stop_after",
    "store",
)
NAMES = ("dataset", "method", "victim", "defense")
LISTS = ("dataset", "method", "victim", "defense", "poison_ratio", "plugins")
MAPPINGS = ("controls", "parameters", "floors", "table", "published")
PRINTED = ("paradigm", *BESIDE)  # the keys that ``published`` may have


@dataclass
class TableConfig:
    """The dimensions in a table's rows and columns, and the metrics in its cells."""

    rows: list[str] = field(default_factory=lambda: ["method"])
    columns: list[str] = field(default_factory=lambda: ["dataset"])
    metric: str = HEADLINES["supervised"]  # a contrastive table without one has the headline of its paradigm
    metrics: list[str] = field(default_factory=list)  # several metrics, a column each; figures show the first
    worst: bool = False  # a last column: where each row protects least


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
    seeds: int = 3  # number of seeds
    seed: int = 0  # the first seed
    image_size: int | None = None  # pixels; null: as stored
    recipe: Any = "standard"  # a preset, or {preset: NAME, field: value}
    parameters: dict[str, Any] = field(
        default_factory=dict
    )  # {name: {parameter: value}} for content of that name
    floors: dict[str, Any] = field(default_factory=dict)  # train_accuracy, clean_accuracy: see FLOORS
    table: TableConfig = field(default_factory=TableConfig)
    published: dict[str, Any] = field(
        default_factory=dict
    )  # which printed numbers to show beside the measured ones
    default_profile: str = ""
    profiles: dict[str, Any] = field(default_factory=dict)  # name -> any of the keys above


@dataclass
class Config(SuiteConfig):
    """A suite together with the settings of one run: every key of the command line."""

    suite: str = ""
    profile: str = ""
    epsilon: float | None = None  # linf radius for every linf method: 8 or 8/255
    granularity: str | None = None  # class, cluster, image or pair, for every method that has it
    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    threads: int = (
        1  # threads that compute one noise or training; on a CPU another number makes another trial
    )
    cuda_graphs: bool = False  # capture steps as CUDA graphs; on a GPU trials with them are other trials
    executor: str = "local"
    workers: str = "auto"  # processes that work side by side; auto: as many as the machine has room for
    ray_address: str = "auto"  # address of a Ray cluster: auto, local or HOST:PORT
    gpus_per_trial: str = ""  # Ray only: 1, 0.5, ...; auto: by the memory that was measured
    cpus_per_trial: float | None = None  # Ray only; null: as many as threads
    time_limit: float | None = None  # seconds that one noise or one training may take; null: no limit
    store: str = "runs"  # a folder, or any fsspec address such as s3://bucket/run
    checkpoint_minutes: float = 10.0  # between two kept states of a long training or search; 0: keep none
    plugins: list[str] = field(default_factory=list)  # files and folders with more content
    asked: list[str] = field(default_factory=list)  # not a key: names whose parameters the words set
    stop_after: str = ""  # such as 3h50m: start nothing that would end later
    fallback: str = ""  # not a key: the suite's default profile, if the words chose more than the suite

    def count_workers(self) -> int | None:
        """How many workers are asked for; None: as many as the machine has room for."""
        return None if self.workers == "auto" else int(self.workers)

    def seconds(self) -> float | None:
        """The seconds of ``stop_after``, or None."""
        return read_duration(self.stop_after, "stop_after") if self.stop_after else None


KEYS = tuple(f.name for f in fields(Config) if f.name not in ("asked", "fallback"))
SUITE_KEYS = tuple(f.name for f in fields(SuiteConfig))
SUITE_ONLY = ("profiles", "default_profile")
PROFILE_KEYS = tuple(key for key in SUITE_KEYS if key not in (*SUITE_ONLY, "paradigm"))
WORD_KEYS = tuple(key for key in KEYS if key not in SUITE_ONLY)
MOST_SEEDS = 1000
IMAGE_SIZES = (8, 4096)  # pixels per side


def parse_words(words: Iterable[str], texts: Iterable[str] = ()) -> dict[str, Any]:
    """``["seeds=3", "em.rounds=5"]`` -> ``{"seeds": 3, "em.rounds": 5}``; names and paths stay as typed.

    Args:
        words: from the command line.
        texts: keys ``NAME.parameter`` of parameters that are text.
    """
    typed = {*texts}
    values: dict[str, Any] = {}
    for key, text in split_words(words).items():
        head, dot, tail = key.partition(".")
        if key in AS_TYPED or f"{head.partition(':')[0]}{dot}{tail}" in typed:
            values[key] = text
        elif key in (*NAMES, "parameters"):
            values[key] = read_names(text, typed)
        else:
            values[key] = list(read_plugins(text)) if key == "plugins" else number(text)
    return values


def read_suite(path: Path) -> dict[str, Any]:
    """A suite's YAML as a mapping, its keys checked."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, yaml.YAMLError, ConfigError, RecursionError) as error:
        raise ConfigError(f"suite file {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"suite file {path} must hold keys and values, not {type(content).__name__}")
    _known(content, SUITE_KEYS, f"key in {path.name}")
    profiles = content.get("profiles") or {}
    if not isinstance(profiles, Mapping):
        raise ConfigError(
            f"profiles in {path.name} must hold names, each with keys and values, not {profiles!r}"
        )
    for name, profile in profiles.items():
        _known(profile or {}, PROFILE_KEYS, f"key in profile '{name}' of {path.name}")
    return {**content, "profiles": {str(name): profile for name, profile in profiles.items()}}


def compose(
    suite: str,
    content: Mapping[str, Any],
    words: Mapping[str, Any],
    parameterised: Iterable[str],
    inner: Iterable[str] = (),
) -> Config:
    """Suite, then its profile, then the command line's words, as one checked configuration.

    Args:
        suite: its name.
        content: its YAML.
        words: from ``parse_words``, in any order; ``NAME.parameter`` and ``recipe.field`` reach inside.
        parameterised: names of content that has parameters, for ``NAME.parameter``.
        inner: keys ``NAME.parameter`` and ``recipe.field`` to suggest where a plain key is unknown.
    """
    profiles = content.get("profiles") or {}
    default = str(content.get("default_profile") or "")
    profile = str(words.get("profile") or default)
    if profile and profile not in profiles:
        raise unknown(f"profile of suite '{suite}'", profile, profiles, f"ue-bench show suite {suite}")
    base = {key: value for key, value in content.items() if key not in SUITE_ONLY}
    layers = [base, profiles.get(profile) or {}]
    taking_part = {name for layer in (*layers, words) for name in _names_in(layer)}
    near = [key for key in inner if key.partition(".")[0] in {*taking_part, "recipe"}]
    if isinstance(words.get("recipe"), str):
        layers.append({"recipe": words["recipe"]})  # replaces the suite's; recipe.field adds to it
    layers.append(_nest(words, set(parameterised), near))
    config = OmegaConf.structured(Config)
    try:
        for layer in layers:
            config = _merge(config, _literal(layer))
        own = {
            "suite": suite,
            "profile": profile,
            "asked": sorted(layers[-1].get("parameters") or {}),
            "fallback": default if words.keys() - {"suite"} else "",
        }
        result: Any = OmegaConf.to_object(OmegaConf.merge(config, _literal(own)))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from None
    _check(result)
    return result


def _names_in(layer: Mapping[str, Any]) -> Iterator[str]:
    """The names of content in a suite's lists, whatever else the lists hold."""
    for key in NAMES:
        listed = layer.get(key)
        for each in listed if isinstance(listed, list) else [listed]:
            yield from map(str, each if isinstance(each, Mapping) else [each])


def _merge(config: Any, layer: Mapping[str, Any]) -> Any:
    """Merges a layer into a configuration: lists and recipes are replaced, mappings of parameters are merged."""
    layer = dict(layer)
    for key in LISTS:
        if key in layer and not isinstance(layer[key], (list, tuple)):
            layer[key] = [] if layer[key] is None else [layer[key]]
    for key in MAPPINGS:
        if key in layer and not isinstance(layer[key], Mapping):
            raise ConfigError(f"{key} must hold keys and values, not {layer[key]!r}")
    for name, values in (layer.get("parameters") or {}).items():
        if values is not None and not isinstance(values, Mapping):
            raise ConfigError(
                f"parameters.{name} must hold parameters and values, not {values!r}: say {{{name}: {{NAME: VALUE}}}}"
            )
    if "recipe" in layer:
        recipe: Any = layer["recipe"]
        if isinstance(recipe, Mapping):
            before: Any = config.recipe
            before = {"preset": before} if isinstance(before, str) else OmegaConf.to_container(before)
            layer["recipe"] = {**before, **recipe}
        elif not isinstance(recipe, str):
            raise ConfigError(f"recipe is a preset's name, or {{preset: NAME, field: value}}, not {recipe!r}")
        config.recipe = None
    return OmegaConf.merge(config, layer)


def _literal(value: Any) -> Any:
    """The value with every ``${`` escaped, so that a suite cannot read the environment or refer to other values."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found.group(1) + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, (list, tuple)) else value


def _nest(words: Mapping[str, Any], names: set[str], inner: Iterable[str]) -> dict[str, Any]:
    """Turns ``em.rounds`` into parameters, ``recipe.epochs`` and ``floors.x`` into mappings."""
    nested: dict[str, Any] = {}
    for key, value in words.items():
        if "." not in key and key != "profile":
            if key not in WORD_KEYS:
                raise unknown("key", key, WORD_KEYS, "ue-bench run --help", inner)
            nested[key] = value
    for key, value in words.items():
        head, dot, tail = key.partition(".")
        if not dot:
            continue
        if head in ("recipe", "floors", "table"):
            if head == "recipe" and isinstance(nested.get(head), str):
                nested[head] = {"preset": nested[head]}
            _put(nested, (head, tail), value)
        elif head in names or head.partition(":")[0] in names:
            _put(nested, ("parameters", head, tail), value)
        else:
            raise unknown(
                "name",
                head,
                names,
                f"ue-bench list; in '{key}', '{head}' must be the name of a method, victim, defense or dataset",
            )
    return nested


def _put(nested: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sets the value at a path of keys; raises ConfigError if another word has set it already."""
    *above, last = path
    for key in above:
        inside = nested.setdefault(key, {})
        if not isinstance(inside, dict):
            raise ConfigError(
                f"{key} must hold keys and values, not {inside!r}, where {'.'.join(path)}= is set"
            )
        nested = inside
    if last in nested:
        raise ConfigError(
            f"{'.'.join(path)} is given twice, as {nested[last]!r} and {value!r}: leave one out"
        )
    nested[last] = value


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
    for key in ("store", "device", "executor", "workers"):
        if not getattr(config, key):
            default = getattr(Config, key)
            raise ConfigError(f"{key}= is empty: leave it out for {key}={default}, or name another")
    for ratio in config.poison_ratio:
        if not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
            raise ConfigError(f"poison_ratio is a share between 0 and 1, not {ratio!r}")
    if not 1 <= config.seeds <= MOST_SEEDS:
        raise ConfigError(
            f"seeds says how many and must be at least 1 and at most {MOST_SEEDS}, not {config.seeds}"
        )
    if abs(config.seed) >= 2**63:
        raise ConfigError(f"seed must have at most 63 bits, such as 0, not {config.seed}")
    check_threads(config.threads)
    if config.workers != "auto" and not re.fullmatch(r"[1-9]\d{0,3}", config.workers):
        raise ConfigError(f"workers is auto or a number such as 4, not {config.workers!r}")
    _check_resources(config)
    config.seconds()
    limit = config.time_limit
    if limit is not None and not 0 < limit < math.inf:
        raise ConfigError(f"time_limit is in seconds and above 0, not {limit:g}; null means none")
    check_minutes(config.checkpoint_minutes)
    if config.image_size is not None and not IMAGE_SIZES[0] <= config.image_size <= IMAGE_SIZES[1]:
        raise ConfigError(
            f"image_size must be at least {IMAGE_SIZES[0]} pixels and at most {IMAGE_SIZES[1]}, not {config.image_size}"
        )
    for name, floor in config.floors.items():
        if name not in FLOORS:
            raise unknown("floor", name, FLOORS)
        if not isinstance(floor, (int, float, dict)):
            raise ConfigError(f"floors.{name} must be a number in percent, not {floor!r}")
    _check_table(config)


def _check_resources(config: Config) -> None:
    if config.executor != "ray":
        for key in ("ray_address", "gpus_per_trial", "cpus_per_trial"):
            if getattr(config, key) != getattr(Config, key):
                raise ConfigError(f"{key} is for a Ray cluster: say executor=ray too, or leave it out")
    gpus, cpus = config.gpus_per_trial, config.cpus_per_trial
    if gpus not in ("", "auto"):
        count = number(gpus)
        if isinstance(count, bool) or not isinstance(count, (int, float)) or not _is_share(count):
            raise ConfigError(
                f"gpus_per_trial is a share of a GPU such as 0.5, or 1, 2, ..., or auto, not {gpus!r}"
            )
    if cpus is not None and not 0 < cpus < math.inf:
        raise ConfigError(f"cpus_per_trial must be above 0, such as 2, not {cpus:g}")


def _is_share(count: float) -> bool:
    return 0 <= count <= 1 or (count == round(count) if math.isfinite(count) else False)


def _check_table(config: Config) -> None:
    """Checks the table's settings, whose mistakes would otherwise show only as an empty table after all training."""
    table = config.table
    asked = list(table.metrics)
    if table.metric != HEADLINES["supervised"]:
        asked.append(table.metric)
    allowed = table_metrics(config.paradigm) or asked  # an unknown paradigm is reported elsewhere
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
