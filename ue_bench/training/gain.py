"""Whether this machine's CPU gains by bf16: measured once, with one small network, and kept in the user's cache."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ue_bench.errors import unknown
from ue_bench.provenance import processor
from ue_bench.threads import computing_with
from ue_bench.training.arithmetic import Switches, autocast, computing_as
from ue_bench.training.epochs import training_step
from ue_bench.training.machine import measured_once

CPU = torch.device("cpu")
ENOUGH = 1.1  # how many times as fast as float32 bf16 must be to be used
HOPELESS = 0.5  # speed in a first look at FEW images that ends the measurement
FEW, MANY = 4, 64  # images in a batch
SECONDS = 2.0  # after which no other pair of steps begins
PAIRS = 9  # of steps, one in each arithmetic in turns
WORDS = ("measure", "on", "off")  # of UE_BENCH_BF16


@dataclass(frozen=True)
class Gain:
    """A measurement of this machine.

    Attributes:
        cpu: its name, and the instructions that torch uses on it.
        torch: version.
        threads: that computed.
        ratio: core-seconds of a training step in float32, divided by those in bf16; a median over ``pairs``.
        pairs: of steps.
    """

    cpu: str
    torch: str
    threads: int
    ratio: float
    pairs: int

    @property
    def enough(self) -> bool:
        """Whether bf16 is used where nobody says otherwise."""
        return self.ratio >= ENOUGH


def bf16_pays(threads: int) -> bool:
    """Whether this machine's CPU computes in bf16 where nobody says otherwise.

    ``UE_BENCH_BF16=on`` or ``off`` decides it for every run, such as on machines of several kinds that share a store.

    Raises:
        ConfigError: if that variable is something else.
    """
    word = _said()
    return gain(threads).enough if word == "measure" else word == "on"


def bf16_in_words(threads: int) -> str:
    """The same with its reason, in a sentence's part: ``used, since ...``."""
    word, found = _said(), gain(threads)
    used = found.enough if word == "measure" else word == "on"
    speed = f"{found.ratio:.2f} times as fast as float32 in a training step with "
    speed += f"{threads} threads" if threads > 1 else "one thread"
    why = f"since it is {speed}" if word == "measure" else f"since UE_BENCH_BF16={word}; it is {speed}"
    other = "recipe.bf16=false turns it off" if used else "recipe.bf16=true turns it on"
    return f"{'used' if used else 'not used'}, {why} ({ENOUGH:g} is enough); for one run {other}"


def name_of_cpu() -> str:
    """Its name, and the instructions that torch uses on it."""
    return f"{processor()} ({torch.backends.cpu.get_cpu_capability()})"


def gain(threads: int) -> Gain:
    """The measurement for a number of threads: from the cache, or made now, which takes a second or two."""
    about = {"cpu": name_of_cpu(), "torch": str(torch.__version__), "threads": threads}
    return Gain(
        **measured_once("bf16", about, lambda: dict(zip(("ratio", "pairs"), measure(threads), strict=True)))
    )


def _said() -> str:
    word = os.environ.get("UE_BENCH_BF16", "").strip().lower() or "measure"
    if word not in WORDS:
        raise unknown("value of UE_BENCH_BF16", word, WORDS, "unset UE_BENCH_BF16, or say on or off")
    return word


def measure(threads: int) -> tuple[float, int]:
    """(how many times as fast as float32 a training step in bf16 is, pairs of steps of which it is the median)."""
    with torch.random.fork_rng(devices=[]), computing_with(threads):
        torch.manual_seed(0)
        network = _network()
        _ratio(network, FEW)  # kernels are chosen and memory is taken
        first = _ratio(network, FEW)
        if first < HOPELESS:
            return first, 1
        _ratio(network, MANY)
        ratios, end = [_ratio(network, MANY)], time.monotonic() + SECONDS
        while len(ratios) < PAIRS and time.monotonic() < end:
            ratios.append(_ratio(network, MANY))
    return statistics.median(ratios), len(ratios)


def _network() -> nn.Module:
    """Three convolutions of 32 channels, as those of small victims."""
    layers: list[nn.Module] = []
    for channels in (3, 32, 32):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return body.to(memory_format=torch.channels_last)


def _ratio(network: nn.Module, count: int) -> float:
    images = torch.rand(count, 3, 32, 32).to(memory_format=torch.channels_last)
    labels, optimizer = torch.arange(count) % 10, torch.optim.SGD(network.parameters(), lr=0.01)
    seconds = []
    for wanted in (False, True):
        start = time.process_time()  # other work on the machine does not count
        with computing_as(Switches(cpu_bf16=True), CPU), autocast(CPU, wanted):
            loss = functional.cross_entropy(network(images), labels)
        training_step(network, optimizer, loss, gradient_clip=0.0)
        seconds.append(time.process_time() - start)
    return seconds[0] / seconds[1]
