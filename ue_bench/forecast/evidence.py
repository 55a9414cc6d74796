"""What is known about costs: records of a machine like this one, the sizes of their data, and what the store holds."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ue_bench.canonical import dumps_plain
from ue_bench.contracts.method import Method
from ue_bench.data.imageset import Split
from ue_bench.provenance import describe_device
from ue_bench.report.cost import seconds, work_seconds
from ue_bench.trials.arithmetic import Arithmetic
from ue_bench.trials.environment import Environment
from ue_bench.trials.making import create_method
from ue_bench.trials.trial import Trial

Record = Mapping[str, Any]
Config = Mapping[str, Any]
Pair = tuple[float, float]  # seconds, device seconds

TRAINING = ("train", "evaluate")


@dataclass(frozen=True)
class Size:
    """The size of a dataset: numbers of training and test images, and (height, width) in pixels."""

    train: int
    test: int
    pixels: tuple[int, int]

    @classmethod
    def of(cls, split: Split) -> Size:
        """The size of a loaded dataset."""
        return cls(len(split.train), len(split.test), split.train.image_size)

    def images(self, phase: str) -> int:
        """The number of images that a phase processes."""
        return self.test if phase == "evaluate" else self.train


@dataclass
class Evidence:
    """The evidence for predictions.

    Attributes:
        records: records of finished trials of a machine like this one.
        calibrated: measurements on slices, in the form of records.
        sizes: training fingerprint -> size, for the data of both and of the trials to come.
        made: keys of noise that is in the store already.
        prepared: keys of preparations that are in the store already.
        once: name -> method, for methods that prepare once for any number of datasets.
        failures: what could not be measured (``noise_of`` or ``training_of`` a trial) -> why.
    """

    records: Sequence[Record] = ()
    calibrated: Sequence[Record] = ()
    sizes: dict[str, Size] = field(default_factory=dict)
    made: Container[str] = ()
    prepared: Container[str] = ()
    once: Mapping[str, Method] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


def gather(todo: Sequence[Trial], records: Mapping[str, Record], environment: Environment) -> Evidence:
    """Everything that a store, whose records these are, holds about the costs of these trials on this machine."""
    if not todo:
        return Evidence()
    store = environment.open_store()
    usable = usable_here(records.values(), describe_device(environment.find_device()))
    sizes = sizes_of(store.read_plans(), usable)
    for trial in {trial.train_fingerprint: trial for trial in todo}.values():
        sizes[trial.train_fingerprint] = Size.of(environment.load(trial))
    made, prepared = (set(store.names(folder, ".safetensors")) for folder in ("noise", "prepared"))
    chosen = {trial.method.name: trial.method for trial in todo}
    methods = {name: create_method(choice, environment) for name, choice in chosen.items()}
    once = {name: method for name, method in methods.items() if method.prepares}
    return Evidence(usable, (), sizes, made, prepared, once)


def usable_here(records: Iterable[Record], device: Mapping[str, Any]) -> list[Record]:
    """The records of finished trials on a device with the same type and name and, for a CPU, number of threads."""
    names = ("type", "name", "threads") if device["type"] == "cpu" else ("type", "name")
    wanted = [device[name] for name in names]
    done = (record for record in records if record.get("status") == "done")
    return [r for r in done if [(r.get("device") or {}).get(name) for name in names] == wanted]


def sizes_of(plans: Iterable[Mapping[str, Any]], records: Iterable[Record]) -> dict[str, Size]:
    """The sizes that a store keeps, by training fingerprint.

    Plans hold them. For the data of older plans, the records of noise hold at least the number of protected images.
    """
    found = {}
    for record in records:
        config, noise = record["config"], record.get("noise") or {}
        side, images = config.get("image_size"), noise.get("examples")
        if side and images:
            found[config["train_fingerprint"]] = Size(images, 0, (side, side))
    for plan in plans:
        for fingerprint, size in (plan.get("data") or {}).items():
            found[fingerprint] = Size(size["train"], size["test"], tuple(size["pixels"]))
    return found


def training_of(config: Config) -> str:
    """A key that is equal for trainings with the same cost per image and epoch."""
    recipe, names = config["recipe"], ("paradigm", "victim", "defense")
    told = [recipe.get(name) for name in ("batch_size", "bf16", "compile")]
    return dumps_plain([*(config[name] for name in names), *told, _arithmetic(config)])


def noise_of(config: Config) -> str:
    """A key that is equal for noises that differ only by data and seed."""
    return dumps_plain([config["paradigm"], config["method"], _arithmetic(config, config["method"])])


def preparation_of(config: Config, method: Method) -> str:
    """A key that is equal for preparations that differ only by seed; ``method`` says which fields do not matter."""
    chosen = config["method"]
    parameters = {k: v for k, v in (chosen["parameters"] or {}).items() if k not in method.protect_only}
    return dumps_plain([{**chosen, "parameters": parameters}, _arithmetic(config, chosen)])


def _arithmetic(config: Config, method: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """How a trial computes, as far as costs depend on it; of a method's noise, the part that belongs to the method."""
    arithmetic = Arithmetic(1, config.get("cpu_bf16", False), config.get("cuda_graphs", False))
    return (arithmetic if method is None else arithmetic.of(method["parameters"] or {})).told()


def empty(config: Config) -> bool:
    """True if the budget allows no noise, so that there is none to make."""
    return ((config["method"]["parameters"] or {}).get("budget") or {}).get("radius") == 0


def passes(config: Config, phase: str) -> float:
    """How often a phase goes through the data: 1 for noise; a training's epochs, less where images are withheld."""
    if phase not in TRAINING:
        return 1.0
    withheld = config["poison_ratio"] if phase == "train" and empty(config) else 0.0
    return float(config["recipe"]["epochs"] * (1 - withheld))


def costs(records: Iterable[Record], phase: str) -> list[Pair]:
    """(seconds, device seconds) of a phase, for each noise once or for one pass of each training."""
    found: dict[Any, Pair] = {}
    for number, record in enumerate(records):
        config = record["config"]
        if seconds(record, phase) is not None:
            alone = phase in TRAINING
            key = number if alone else (config["train_fingerprint"], config["seed"], noise_of(config))
            wall, device = (work_seconds(record, phase, clock) for clock in ("seconds", "device_seconds"))
            found[key] = wall / passes(config, phase), device / passes(config, phase)
    return list(found.values())


def points(records: Iterable[Record], phase: str, size: Size, sizes: Mapping[str, Size]) -> dict[int, Pair]:
    """Number of images -> mean costs, from records whose images have the same height and width."""
    groups: dict[int, list[Record]] = {}
    for record in records:
        other = sizes.get(record["config"]["train_fingerprint"])
        if other and other.pixels == size.pixels and other.images(phase):
            groups.setdefault(other.images(phase), []).append(record)
    return {count: mean(pairs) for count, group in groups.items() if (pairs := costs(group, phase))}


def mean(pairs: Sequence[Pair]) -> Pair:
    """The mean on both clocks."""
    return statistics.fmean(pair[0] for pair in pairs), statistics.fmean(pair[1] for pair in pairs)


def extrapolate(known: Mapping[int, float], images: int) -> float:
    """The cost of a number of images, from the known costs of other numbers.

    It lies on the straight line through the two nearest numbers, which never falls. A single known cost is scaled by
    the number of images.

    Example: ``extrapolate({100: 3.0, 200: 5.0}, 400)`` is 9: 1 at the start and 2 for each hundred.
    ``extrapolate({100: 3.0}, 400)`` is 12.
    """
    if images in known:
        return known[images]
    if len(known) == 1:
        ((count, cost),) = known.items()
        return cost * images / count
    low, high = sorted(sorted(known, key=lambda count: abs(count - images))[:2])
    slope = max(0.0, (known[high] - known[low]) / (high - low))
    return max(0.0, known[high] + slope * (images - high))


class Sharing:
    """Which methods share a preparation, learned from records with the same ``prepare_key``."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.keys: dict[tuple[str, int], dict[str, str]] = {}  # (method, seed) -> data -> key
        users: dict[str, set[tuple[str, str]]] = {}
        for record in records:
            key, config = (record.get("noise") or {}).get("prepare_key"), record["config"]
            if key:
                method, data = noise_of(config), config["train_fingerprint"]
                self.keys.setdefault((method, config["seed"]), {})[data] = key
                users.setdefault(key, set()).add((method, data))
        self.together: dict[str, set[str]] = {}
        self.any_data: set[str] = set()
        for pairs in users.values():
            methods = {method for method, _ in pairs}
            methods = methods.union(*(self.together.get(method, set()) for method in methods))
            self.together |= dict.fromkeys(methods, methods)
            if len({data for _, data in pairs}) > 1:
                self.any_data |= methods

    def work(self, config: Config) -> tuple[str, str, int]:
        """A key that is equal for trials that share a preparation."""
        method = noise_of(config)
        data = "" if method in self.any_data else config["train_fingerprint"]
        return min(self.together.get(method, {method})), data, config["seed"]

    def kept(self, work: tuple[str, str, int], prepared: Container[str]) -> bool:
        """True if the store holds the preparation."""
        method, data, seed = work
        methods = self.together.get(method, {method})
        kept = [self.keys.get((each, seed), {}) for each in methods]
        keys = [key for each in kept for other, key in each.items() if data in ("", other)]
        return any(all(part in prepared for part in key.split("+")) for key in keys)
