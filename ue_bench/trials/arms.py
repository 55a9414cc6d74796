"""The methods of a run: configured, with the controls that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ue_bench.composition import is_composed, merge_parameters, parts_of, preset_of
from ue_bench.config import Config
from ue_bench.contracts.budget import steps
from ue_bench.contracts.method import Method
from ue_bench.contracts.view import ProtectorView
from ue_bench.data.imageset import Split
from ue_bench.errors import ConfigError, unknown
from ue_bench.parameters import check_role
from ue_bench.registry import Registry

GRANULARITIES = ("class", "cluster", "image", "pair")


@dataclass(frozen=True)
class Arm:
    """A configured method in a suite, and the part it plays."""

    method: Method
    role: str = ""  # clean or random for the controls

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name


def make_arms(config: Config, registry: Registry, used: set[str], skipped: list[dict[str, str]]) -> list[Arm]:
    """Controls first, then the methods; a granularity or epsilon asked for is applied to all that have it."""
    words = [(role, word) for role, word in config.controls.items()] + [("", word) for word in config.method]
    arms: list[Arm] = []
    for role, word in words:
        method: Method = create(registry, "methods", word, config, used)
        if role:
            check_role(role, method.name, method, registry)
        if config.epsilon is not None:
            method = method.with_epsilon(steps(config.epsilon))
        if config.granularity and not role and not method.budget.empty:
            if config.granularity not in GRANULARITIES:
                raise unknown("granularity", config.granularity, GRANULARITIES)
            if config.granularity not in method.granularities:
                made = " and ".join(f"{kind}-wise" for kind in method.granularities)
                skipped.append(
                    {
                        "what": method.name,
                        "reason": f"it makes {made} noise only, not {config.granularity}-wise",
                    }
                )
                continue
            method = dataclasses.replace(method, granularity=config.granularity)
        if not any(arm.method == method for arm in arms):
            arms.append(Arm(method, role))
    return arms


def arms_for(split: Split, arms: list[Arm], paradigm: str, skipped: list[dict[str, str]]) -> list[Arm]:
    """The arms as they are run on a dataset, with the random control of each budget."""
    found = []
    for arm in arms:
        if paradigm in arm.method.paradigms and type(arm.method).for_data is not Method.for_data:
            view = ProtectorView(split.train, arm.method.access, paradigm, arm.name)
            arm = dataclasses.replace(arm, method=arm.method.for_data(view))
        found.append(arm)
    return _with_random_noise_of_each_budget(found, split.train.image_size, skipped)


def _with_random_noise_of_each_budget(
    arms: list[Arm], image_size: tuple[int, int], skipped: list[dict[str, str]]
) -> list[Arm]:
    """The arms with the random control at every budget that is kept at this size of image, and at no other."""
    found = next((arm for arm in arms if arm.role == "random"), None)
    methods = [arm.method for arm in arms if not arm.role and not arm.method.budget.empty]
    noisy = [method.promised_budget(image_size) for method in methods]
    if found is None or not noisy:
        return arms
    budgets = dict.fromkeys(dataclasses.replace(budget, signs="both") for budget in noisy)
    controls: list[Arm] = []
    for budget in sorted(budgets, key=lambda budget: budget != found.method.budget):  # the stated one first
        if budget.norm == "none":
            skipped.append({"what": "random noise without a bound", "reason": "it would need a radius"})
            continue
        try:
            controls.append(Arm(dataclasses.replace(found.method, budget=budget), "random"))
        except ConfigError as error:
            skipped.append({"what": f"random noise of the budget {budget}", "reason": str(error)})
    taken = [found.method, *(arm.method for arm in controls)]  # a suite may list the control itself once more
    place = arms.index(found)
    return [*arms[:place], *controls, *(arm for arm in arms[place:] if arm.method not in taken)]


def create(registry: Registry, kind: str, word: Any, config: Config, used: set[str]) -> Any:
    """An instance of content from NAME or {NAME: {parameter: value}}, with the parameters set elsewhere."""
    name, given = next(iter(word.items())) if isinstance(word, Mapping) and len(word) == 1 else (word, {})
    if not isinstance(name, str) or not isinstance(given or {}, Mapping):
        raise ConfigError(f"cannot read {word!r}: say NAME, or {{NAME: {{parameter: value}}}}")
    used.add(name)
    if is_composed(kind, name):
        used.update(parts_of(name))
        presets = {
            part: preset_of(registry.load(kind, part), config.profile, config.paradigm)
            for part in parts_of(name)
        }
        joint = merge_parameters(name, given or {}, config.parameters, presets)
        return registry.create(kind, name, joint)
    preset = preset_of(registry.load(kind, name), config.profile, config.paradigm)
    stem = name.partition(":")[0]  # NAME.parameter= sets it for every NAME:ARGUMENT
    used.add(stem)
    everywhere = {**(config.parameters.get(stem) or {}), **(config.parameters.get(name) or {})}
    values = {**preset, **everywhere, **(given or {})}
    return registry.create(kind, name, values, config.paradigm)
