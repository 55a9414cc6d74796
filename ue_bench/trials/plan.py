"""Makes the trials of a configuration. Every mistake that can be found before the work is found here."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ue_bench.bounds import kinds
from ue_bench.canonical import digest, plain
from ue_bench.composition import is_composed, parts_of
from ue_bench.config import Config
from ue_bench.contracts.composed import changes_images_only
from ue_bench.contracts.content import Content
from ue_bench.contracts.dataset import Dataset
from ue_bench.contracts.defense import Defense
from ue_bench.contracts.method import Method
from ue_bench.contracts.victim import Victim
from ue_bench.data.cache import load_cached
from ue_bench.data.imageset import PARADIGMS, ImageSet, Split
from ue_bench.dimensions import ABLATION, DIAGNOSTIC, skipped_in_words
from ue_bench.errors import ConfigError, DataError, UnavailableError, unknown
from ue_bench.floors import check_floors
from ue_bench.parameters import check_parameters
from ue_bench.provenance import find_device
from ue_bench.registry import Registry, convert
from ue_bench.trials.arithmetic import planned
from ue_bench.trials.arms import Arm, arms_for, create, make_arms
from ue_bench.trials.guard import no_way_out
from ue_bench.trials.needs import lacks, starts_apart
from ue_bench.trials.paradigms import WAYS
from ue_bench.trials.trial import Choice, Trial


@dataclass
class Plan:
    """The trials of a run, and what reports need to know of them.

    Attributes:
        config: the whole configuration.
        trials: in the order of the suite.
        header: the plan as the store keeps it; reports are made from it.
        skipped: (what, why) of combinations that make no sense.
    """

    config: Config
    trials: list[Trial] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Equal for equal grids, so that running the same thing again keeps one plan."""
        return digest([self.header["suite"], [trial.id for trial in self.trials], self.header["table"]])


@no_way_out("while the run was planned")
def make_plan(config: Config, registry: Registry, command: str, download: bool = True) -> Plan:
    """Resolves names and parameters, loads the datasets' fingerprints, crosses the grid.

    Args:
        config: what is asked for.
        registry: what there is.
        command: that asks for it; the plan keeps it.
        download: whether a dataset that is not on this machine may be fetched.

    Raises:
        UEBenchError: for anything that would fail later: a name, a parameter, absent data.
    """
    if config.paradigm not in PARADIGMS:
        raise unknown("paradigm", config.paradigm, PARADIGMS)
    plan = Plan(config)
    used: set[str] = set()
    with _way_out(config):
        datasets = [create(registry, "datasets", word, config, used) for word in config.dataset]
        victims = [create(registry, "victims", word, config, used) for word in config.victim]
        defenses = [create(registry, "defenses", word, config, used) for word in config.defense]
        arms = make_arms(config, registry, used, plan.skipped)
        check_floors(config.floors, registry)
        check_parameters(config.parameters, registry, set(config.asked) - used)
        _check_available([*victims, *defenses, *(arm.method for arm in arms)])
        recipe = make_recipe(config.recipe, config.paradigm)
        splits = _load(datasets, config, download)
    arithmetic = planned(
        find_device(config.device), config.threads, config.cuda_graphs, _said_bf16(config, recipe)
    )
    entries: dict[str, dict[str, Any]] = {}
    grid = (
        (data, *cell)
        for data in zip(datasets, splits, strict=True)
        for cell in itertools.product(
            victims,
            defenses,
            config.poison_ratio,
            arms_for(data[1], arms, config.paradigm, plan.skipped),
        )
    )
    for (dataset, split), victim, defense, ratio, arm in grid:
        if reason := _mismatch((arm.method, victim, defense), dataset.name, split.train, config.paradigm):
            plan.skipped.append({"what": f"{arm.name} on {dataset.name}, {victim.name}", "reason": reason})
            continue
        share = _share(arm, ratio)
        if share is None:
            plan.skipped.append(_pointless(arm, ratio))
            continue
        if reason := _rounded_away(arm, ratio, len(split.train)):
            plan.skipped.append(
                {"what": f"{arm.name} on {dataset.name} at ratio {100 * ratio:g}%", "reason": reason}
            )
            continue
        own = recipe_for(victim, recipe, config.recipe)
        method = Choice(arm.name, plain(arm.method.recorded(config.paradigm)), arm.method.edition())
        noise_arithmetic = arithmetic.of(method.parameters)
        first = Trial(
            paradigm=config.paradigm,
            dataset=_choice(dataset),
            image_size=config.image_size,
            train_fingerprint=split.train.fingerprint,
            test_fingerprint=split.test.fingerprint,
            method=method,
            victim=_choice(victim),
            defense=_choice(defense),
            recipe=plain(own),
            poison_ratio=share,
            seed=config.seed,
            threads=arithmetic.threads,
            cpu_bf16=(own.bf16 and arithmetic.cpu_bf16) or noise_arithmetic.cpu_bf16,
            cuda_graphs=arithmetic.cuda_graphs,
        )
        reading = registry.find("methods", arm.name).reading
        sources = {item.name: item.source for item in reading.parameters} if reading else {}
        entry = _entry(first, arm, dataset, victim, defense, split.train.image_size, sources)
        for seed in range(config.seed, config.seed + config.seeds):
            trial = dataclasses.replace(first, seed=seed)
            if trial.id not in entries:
                entries[trial.id] = {**entry, "id": trial.id, "seed": seed}
                plan.trials.append(trial)
    plan.skipped = [dict(item) for item in dict.fromkeys(tuple(item.items()) for item in plan.skipped)]
    if not plan.trials:
        raise ConfigError(f"nothing is left to do. {'; '.join(skipped_in_words(plan.skipped))}")
    _tell_settings_apart(list(entries.values()))
    data = {split.train.fingerprint: split for split in splits}
    used_data = dict.fromkeys(trial.train_fingerprint for trial in plan.trials)
    plan.header = _header(config, command, list(entries.values()), plan.skipped)
    plan.header["data"] = {key: _size(data[key]) for key in used_data}
    return plan


def _said_bf16(config: Config, recipe: Any) -> bool | None:
    """Whether victims are to compute in bf16, as a person or a suite said; None if nobody did."""
    return recipe.bf16 if isinstance(config.recipe, Mapping) and "bf16" in config.recipe else None


def _share(arm: Arm, ratio: float) -> float | None:
    """The poison ratio of this arm's trials: 0 for an arm without noise; None if a trial would repeat the clean control
    or leave nothing to train on."""
    if arm.method.withholds:
        return float(ratio) if 0 < ratio < 1 else None
    if arm.method.budget.empty:
        return 0.0
    return float(ratio) if ratio > 0 else None


def _pointless(arm: Arm, ratio: float) -> dict[str, str]:
    if ratio > 0:
        return {"what": f"{arm.name} at ratio {100 * ratio:g}%", "reason": "it leaves nothing to train on"}
    return {
        "what": "noise at ratio 0%",
        "reason": "without protected images, each trial repeats the clean control",
    }


def _rounded_away(arm: Arm, ratio: float, count: int) -> str:
    """Why so small or large a share of so few images is none or all of them, or ""."""
    chosen = round(count * ratio)
    if not arm.method.budget.empty and chosen == 0:
        return f"of {count} images it protects none"
    if arm.method.withholds and chosen == count:
        return f"of {count} images it leaves none to train on"
    return ""


@contextlib.contextmanager
def _way_out(config: Config) -> Iterator[None]:
    """Ends the error for absent data, weights or packages with a command that works on this machine."""
    try:
        yield
    except (DataError, UnavailableError) as error:
        if not config.fallback:
            raise
        here = f"ue-bench run suite={config.suite} profile={config.fallback}"
        text = str(error)
        stop = "" if text.endswith((".", "?")) else "."
        raise type(error)(f"{text}{stop}\nWithout it: {here}") from error


def _check_available(contents: Iterable[Content]) -> None:
    """Raises UnavailableError for content that this machine cannot run."""
    for content in contents:
        if reason := content.unavailable():
            raise UnavailableError(f"{content.name}: {reason}")


def _load(datasets: list[Dataset], config: Config, download: bool) -> list[Split]:
    """The datasets, decoded."""
    for dataset in datasets:
        if not download and (absent := dataset.to_download()):
            raise DataError(f"neither a dry run nor asking for a price downloads anything, and {absent}")
    return [load_cached(dataset, config.image_size) for dataset in datasets]


def make_recipe(word: Any, paradigm: str = "supervised") -> Any:
    """A preset's name, or {preset: NAME, field: value}, as the paradigm's recipe."""
    way = WAYS[paradigm]
    values = {"preset": word} if isinstance(word, str) else dict(word or {})
    preset = values.pop("preset", "standard")
    if preset not in way.presets:
        raise unknown(f"{paradigm} recipe", str(preset), way.presets)
    known = kinds(way.recipe)
    for key in values:
        if key not in known:
            raise unknown("key of recipe", key, known)
    changes = {key: convert(value, known[key], f"recipe.{key}") for key, value in values.items()}
    return dataclasses.replace(way.presets[preset], **changes)


def recipe_for(victim: Any, recipe: Any, word: Any) -> Any:
    """The recipe as the victim needs it; fields said explicitly have the last word, an optimizer for all of them.

    Args:
        victim: may adjust what the family cannot learn with.
        recipe: from ``make_recipe(word)``.
        word: as configured.
    """
    said = set() if isinstance(word, str) else set(word or {}) - {"preset"}
    if "optimizer" in said:
        return recipe
    return dataclasses.replace(victim.recipe(recipe), **{key: getattr(recipe, key) for key in said})


def _choice(content: Content) -> Choice:
    return Choice(content.name, plain(content.recorded()), content.edition())


def _mismatch(used: tuple[Method, Victim, Defense], dataset: str, train: ImageSet, paradigm: str) -> str:
    """Why these make no sense together on a training set, or ""."""
    method = used[0]
    for content in used:
        if paradigm not in content.paradigms:
            return f"{content.name} is for {' and '.join(sorted(content.paradigms))} training, not {paradigm}"
    if reason := method.conflict(paradigm) or starts_apart(method, used[1]):
        return reason
    victim, defense = used[1:]
    if victim.learns in WAYS[paradigm].others and not changes_images_only(defense):
        return f"{defense.name} acts on batches with labels, and {victim.name} is trained without labels"
    if paradigm == "supervised" and train.labels is None:
        return f"supervised training needs labels, {dataset} has none"
    if paradigm == "contrastive" and train.captions is None:
        return f"contrastive training needs captions, {dataset} has none"
    return lacks(method, dataset, train, paradigm)


def _apart(method: Method, victim: Victim) -> str | None:
    """Why a row is none of a method, though its arm has no role."""
    if method.is_control:
        return ABLATION
    return DIAGNOSTIC if victim.diagnostic else None


def _entry(
    trial: Trial,
    arm: Arm,
    dataset: Dataset,
    victim: Any,
    defense: Defense,
    image_size: tuple[int, int],
    sources: Mapping[str, str],
) -> dict[str, Any]:
    """What reports need to know of a trial before it is done; ``sources`` says who sets each parameter's default."""
    defaults = arm.method.defaults_in(trial.paradigm)
    defaults |= {name: value for name, value in arm.method.usual.items() if defaults[name] is None}
    changed = {
        name: [plain(value), plain(defaults[name])]
        for name, value in arm.method.changed_parameters(trial.paradigm).items()
        if name not in ("granularity", "budget", getattr(arm.method, "argument", ""))
        and value != defaults[name]
    }
    variants = arm.method.variants
    reduced = {name: pair for name, pair in changed.items() if name not in variants}
    return {
        "id": trial.id,
        "dataset": trial.dataset.name,
        "dataset_label": dataset.label(),
        "method": trial.method.name,
        "granularity": "" if arm.method.budget.empty else arm.method.granularity,
        "budget": str(arm.method.promised_budget(image_size)),
        "victim": trial.victim.name,
        "defense": trial.defense.name,
        "comparable_training": defense.comparable_training,
        "poison_ratio": trial.poison_ratio,
        "seed": trial.seed,
        "control": arm.role or _apart(arm.method, victim),
        "diagnostic": bool(victim.diagnostic),
        "published_names": [] if victim.diagnostic else list(arm.method.published_as(trial.paradigm)),
        "prepares_once": arm.method.prepares,
        "reduced": reduced,
        "sources": {name: sources.get(name, "default") for name in reduced},
        "chosen": {name: pair for name, pair in changed.items() if name in variants},
        "adjusted": _adjusted(victim, defense),
    }


def _adjusted(*used: Content) -> dict[str, dict[str, Any]]:
    """{name: {parameter: [value, default]}} of a victim and a defense that are not used as they come."""
    found: dict[str, dict[str, Any]] = {}
    for content in used:
        for part in getattr(content, "parts", (content,)):
            argument = getattr(part, "argument", "")
            defaults = {f.name: f.default for f in dataclasses.fields(part) if f.name != argument}
            changed = {key: value for key, value in part.changed_parameters().items() if key in defaults}
            if changed:
                found[part.name] = {
                    key: [plain(value), plain(defaults[key])] for key, value in changed.items()
                }
    return found


def _tell_settings_apart(entries: list[dict[str, Any]]) -> None:
    """Adds ``settings``, {victim or defense: its parameters in words}, where one name takes part with several."""
    for kind in ("victim", "defense"):
        for name in dict.fromkeys(entry[kind] for entry in entries):
            group = [entry for entry in entries if entry[kind] == name]
            several = is_composed("defenses", name)
            parts = parts_of(name) if several else [name]
            changed = [
                {
                    (f"{part}.{key}" if several else key): pair
                    for part in parts
                    for key, pair in entry["adjusted"].get(part, {}).items()
                }
                for entry in group
            ]
            defaults = {key: pair[1] for one in changed for key, pair in one.items()}
            values = [
                {key: one.get(key, [default])[0] for key, default in defaults.items()} for one in changed
            ]
            varying = [key for key in defaults if any(each[key] != values[0][key] for each in values)]
            for entry, own in zip(group, values, strict=True):
                if varying:
                    text = ", ".join(f"{key}={own[key]}" for key in varying)
                    entry.setdefault("settings", {})[kind] = text


def _size(split: Split) -> dict[str, Any]:
    """Training and test images, and (height, width) in pixels, as forecasts look them up."""
    return {"train": len(split.train), "test": len(split.test), "pixels": list(split.train.image_size)}


def _header(
    config: Config, command: str, entries: list[dict[str, Any]], skipped: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "suite": config.suite,
        "title": config.title,
        "source": config.source,
        "profile": config.profile,
        "paradigm": config.paradigm,
        "command": command,
        "floors": plain(config.floors),
        "table": {name: value for name, value in plain(config.table).items() if value or name != "worst"},
        "published": plain(config.published),
        "seed": config.seed,
        "trials": entries,
        "skipped": skipped,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
