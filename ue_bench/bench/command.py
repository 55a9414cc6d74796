"""The command ``bench``: words in, a table of speeds out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ue_bench.bench.measuring import Measured, Request, measure
from ue_bench.bench.table import FORMATS
from ue_bench.bench.together import measure_together
from ue_bench.bounds import check_threads
from ue_bench.errors import ConfigError
from ue_bench.provenance import describe_device, find_device, versions
from ue_bench.registry import Registry
from ue_bench.threads import computing_with
from ue_bench.training.arithmetic import computing_as
from ue_bench.trials.arithmetic import planned
from ue_bench.trials.environment import Environment
from ue_bench.words import number, read_names, read_plugins, read_whole, read_words

USAGE = "ue-bench bench [victim=[NAME,NAME] seconds=90 size=32 batch=128 threads=1 workers=1 device=auto plugins=[...]]"
WORDS = {
    "victim": "",
    "seconds": "90",
    "size": "32",
    "batch": "128",
    "threads": "1",
    "workers": "1",
    "device": "auto",
    "plugins": "",
}
LONGEST = 3600


def bench(words: Sequence[str], format: str, say: Callable[[str], object]) -> str:
    """Measures victims on this machine; returns the page.

    Args:
        words: see ``USAGE``; ``NAME.parameter=value`` sets a victim's.
        format: one of ``FORMATS``.
        say: is told which victim is being measured.

    Raises:
        ConfigError: for a word that is not allowed, before anything is measured.
    """
    given = read_words(words, WORDS, (), USAGE, dotted=True)
    seconds, threads = _seconds(given["seconds"]), read_whole(given, "threads", 1)
    check_threads(threads)
    workers = read_whole(given, "workers", 1, max(1, os.cpu_count() or 1))
    registry = Registry(plugins := read_plugins(given["plugins"]))
    victims = _victims(given, registry)
    request = Request(
        read_whole(given, "size", 8, 512), read_whole(given, "batch", 2, 4096), seconds / len(victims)
    )
    device = find_device(given["device"])
    arithmetic = planned(device, threads, cuda_graphs=False, said=None)
    with computing_with(threads), computing_as(arithmetic.switches, device):
        environment = Environment("", given["device"], plugins, threads)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        machine = {
            **describe_device(device),
            "cores": os.cpu_count(),
            "processes": workers,
            "torch": versions().get("torch"),
            "load": load,
        }
        measured: list[Measured] = []
        for name, parameters in victims.items():
            say(f"[{len(measured) + 1}/{len(victims)}] {name}: about {request.seconds:.0f} s")
            task = (name, parameters, request, environment)
            measured.append(
                measure(*task) if workers == 1 else measure_together(workers, *task, arithmetic.switches)
            )
    return FORMATS[format](measured, request, machine, " ".join(["ue-bench bench", *words]))


def _victims(given: Mapping[str, str], registry: Registry) -> dict[str, dict[str, Any]]:
    """{name: its parameters} of what is to be measured; every one can be made."""
    asked = read_names(given["victim"]) or registry.measured()
    names = [asked] if isinstance(asked, str) else asked
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"victim={given['victim']}: say a name, or several: victim=[NAME,NAME]. {USAGE}")
    for name in names:
        registry.find("victims", name)
    dotted = {key: value for key, value in given.items() if "." in key}
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, text in dotted.items():
        name, _, parameter = key.partition(".")
        if name not in found:
            raise ConfigError(
                f"{key}= belongs to no victim here: say NAME.parameter=, where NAME is one of {', '.join(found)}"
            )
        found[name][parameter] = number(text)
    for name, parameters in found.items():
        victim = registry.create("victims", name, parameters)
        if "supervised" not in victim.paradigms:
            raise ConfigError(
                f"victim {name} is trained on pairs, and bench measures image classifiers: for example "
                f"victim={registry.measured()[0]}. See: ue-bench list victims"
            )
    return found


def _seconds(text: str) -> float:
    """``90``, or another number of seconds up to an hour."""
    value = number(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= LONGEST:
        raise ConfigError(
            f"seconds={text}: the time for all victims together, from 1 to {LONGEST}, such as seconds=90. {USAGE}"
        )
    return float(value)
