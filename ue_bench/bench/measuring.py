"""Measures a victim's training, in turns with the ordinary loop, and its evaluation, within a given time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ue_bench.bench.ordinary import OrdinaryLoop
from ue_bench.clock import Clock
from ue_bench.data.imageset import ImageSet
from ue_bench.training.peak import peak_flop
from ue_bench.training.recipe import Recipe
from ue_bench.training.supervised import train
from ue_bench.trials.environment import Environment

LEAST, MOST = 3, 9  # turns, if they do not take too long
MOST_BATCHES = 40  # of one turn
CLASSES = 10
LEARNING_RATE = 0.001  # of either loop: the labels are random, and nothing is to be learned


@dataclass(frozen=True)
class Request:
    """What is measured of each victim.

    Attributes:
        image_size: in pixels, of square images.
        batch_size: images.
        seconds: for one victim, if a turn of a batch does not take longer.
    """

    image_size: int
    batch_size: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """How fast a victim is here; rates are images a second, one for each turn.

    Attributes:
        victim: its name, with parameters that were set.
        dtype: of the arithmetic of ue-bench's loop, as found.
        training: of ue-bench's loop: forward, backward, step.
        ordinary: of the ordinary loop, in the same turns.
        evaluation: of ue-bench's evaluation, forward only.
        training_flop: operations of training for one image.
        evaluation_flop: operations of evaluation for one image.
        peak: operations a second that the device reaches in matrix products.
    """

    victim: str
    dtype: str
    training: tuple[float, ...]
    ordinary: tuple[float, ...]
    evaluation: tuple[float, ...]
    training_flop: float
    evaluation_flop: float
    peak: float

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as the ordinary loop, turn by turn."""
        return [own / other for own, other in zip(self.training, self.ordinary, strict=True)]

    def peak_percent(self, rates: Sequence[float], flop: float) -> float:
        """The share of the device's peak at the median of these rates."""
        return 100 * statistics.median(rates) * flop / self.peak


def alone(value: float) -> float:
    """What a process agrees on with the others, where there are none."""
    return value


def measure(
    name: str,
    parameters: Mapping[str, Any],
    request: Request,
    environment: Environment,
    agree: Callable[[float], float] = alone,
) -> Measured:
    """Measures one victim.

    One batch of either loop warms up and tells how many fit into a turn. Then they take turns, so that other work on
    the machine meets both: at least three, and more while there is time; a single one where three would take more
    than twice the time.

    Args:
        name, parameters: the victim.
        request: sizes and time.
        environment: where it is measured.
        agree: waits for all processes that measure side by side and returns the number that one of them gave, so that
            all do the same at the same time.
    """
    device = environment.find_device()
    size, clock = (request.image_size, request.image_size), Clock(device)

    def build(counted: Clock | None = None) -> torch.nn.Module:
        return environment.build_victim(name, CLASSES, size, 0, dict(parameters), clock=counted)

    model, plain = build(clock), build().to(memory_format=torch.contiguous_format)
    agree(0)
    end, start = time.monotonic() + request.seconds, time.monotonic()
    data = _images(request.batch_size, request.image_size)
    loop = OrdinaryLoop(plain, data, request.batch_size, device)
    loop.epoch()
    _own(model, data, request, clock)
    took, left = time.monotonic() - start, end - time.monotonic()
    least = int(agree(1 if LEAST * took > 2 * request.seconds else LEAST))
    batches = int(agree(max(1, min(left / (LEAST + 2) / took, MOST_BATCHES))))
    if batches > 1:
        data = _images(request.batch_size * batches, request.image_size)
        loop = OrdinaryLoop(plain, data, request.batch_size, device)
        loop.epoch()  # starts its processes
    turns: list[tuple[float, float, float]] = []
    while agree(len(turns) < least or (len(turns) < MOST and time.monotonic() < end)):
        clock = _reset(clock)
        _own(model, data, request, clock)
        rates = {phase: clock.images[phase] / clock.seconds[phase] for phase in ("train", "evaluate")}
        agree(0)
        turns.append((rates["train"], loop.epoch(), rates["evaluate"]))
    training, ordinary, evaluation = zip(*turns, strict=True)
    counted = {phase: clock.flop.get(phase) or {} for phase in ("train", "evaluate")}
    dtype = max(counted["train"], key=counted["train"].__getitem__, default="float32")
    each = {phase: sum(found.values()) / clock.images[phase] for phase, found in counted.items()}
    words = [name, *(f"{key}={value}" for key, value in parameters.items())]
    return Measured(
        " ".join(words), dtype, training, ordinary, evaluation, each["train"], each["evaluate"],
        peak_flop(device, dtype),
    )  # fmt: skip


def _own(model: torch.nn.Module, data: ImageSet, request: Request, clock: Clock) -> None:
    """One epoch and its evaluation on as many images, by the trainer that suites use."""
    recipe = Recipe(epochs=1, batch_size=request.batch_size, learning_rate=LEARNING_RATE)
    train(model, data, recipe, device=clock.device, seed=0, clock=clock, test=data)


def _reset(clock: Clock) -> Clock:
    """The same clock, which the model counts in, at zero."""
    for sums in (clock.seconds, clock.device_seconds, clock.images, clock.flop):
        sums.clear()
    return clock


def _images(count: int, size: int) -> ImageSet:
    """Images of noise: what they show does not change how long a step takes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    names = tuple(f"class {number}" for number in range(CLASSES))
    return ImageSet(images, torch.arange(count) % CLASSES, None, names)
