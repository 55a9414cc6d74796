"""The trial's trained victim: from the store, or trained again and then kept there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import nn

from ue_bench.canonical import plain
from ue_bench.errors import DamagedError, UEBenchError
from ue_bench.explain.subject import Subject, load_subject
from ue_bench.progress import Progress
from ue_bench.provenance import commit, describe_device, versions
from ue_bench.training.arithmetic import computing_as
from ue_bench.trials.artefacts import load_tensors, save_tensors
from ue_bench.trials.environment import Environment
from ue_bench.trials.evaluate import build_victim, train_victim

FOLDER = "victims"


def recover_victim(subject: Subject, environment: Environment, progress: Progress) -> tuple[nn.Module, str]:
    """(the trained victim in evaluation mode on the device, where it comes from in words).

    ``victims/ID.safetensors`` holds its weights. If there is no such file, or a damaged one, the victim is trained
    again as the trial trained it, and kept.
    """
    store, key = environment.open_store(), subject.trial.id
    name = store.path(FOLDER, f"{key}.safetensors")
    try:
        kept = load_tensors(store, FOLDER, key)
        if kept is not None:
            victim = build_victim(subject.trial, environment)
            _fill(victim, kept[0], name)
            return victim.eval(), f"the victim is the one kept in {name}"
        reason = f"{name} is not there"
    except DamagedError as error:
        reason = str(error)
    progress.say(f"    {reason}: the victim is trained again")
    with computing_as(subject.trial.arithmetic.switches, subject.device):
        done = train_victim(subject.trial, environment, progress)
    facts = {
        "trial": subject.trial.config(),
        "metrics": plain(done.curves.metrics()),
        "curves": plain(dataclasses.asdict(done.curves)),
        "device": describe_device(subject.device),
        "versions": versions(),
        "commit": commit(),
    }
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in done.victim.state_dict().items()}
    save_tensors(store, FOLDER, key, tensors, facts)
    return done.victim.eval(), (
        f"trained the victim again and kept it in {name}: "
        + compare(_of_training(subject.record["metrics"]), facts["metrics"])
    )


def recover_clean(
    record: Mapping[str, Any],
    control: Mapping[str, Any] | None,
    environment: Environment,
    progress: Progress,
) -> tuple[nn.Module | None, str, str]:
    """The clean control's victim.

    Args:
        record: the record of the trial that is explained.
        control: the record of its clean control, or None.
        environment: the run's environment, with its store.
        progress: shows a training that is done again.

    Returns:
        (the victim or None, why there is none in a few words or "", its origin or its absence in a sentence).
    """
    if control is None:
        clean = record["poison_ratio"] == 0
        lack = "it saw clean data itself" if clean else "the store holds no clean control of it"
        return None, lack, f"no clean victim beside this one: {lack}"
    try:
        victim, origin = recover_victim(load_subject(control, environment), environment, progress)
    except UEBenchError as error:
        return (
            None,
            "its clean control's victim cannot be recovered",
            f"no clean victim beside this one: {error}",
        )
    return victim, "", f"clean control {control['id']}: {origin}"


def _of_training(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics without those that are measured on the trained victim afterwards."""
    return {name: value for name, value in metrics.items() if name != "probe_accuracy"}


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Whether a second training gave the values of the record, in words."""
    if before == now:
        return "it reaches exactly what its record says"
    names = [
        name for name, value in before.items() if now.get(name) != value and not isinstance(value, Mapping)
    ]
    changes = ", ".join(f"{name} {now.get(name)} (record: {before[name]})" for name in names[:4])
    return (
        f"it differs from its record: {changes or 'in earlier epochs'}. Another device, other library versions and "
        "dropout can do that"
    )


def _fill(victim: nn.Module, tensors: Mapping[str, Any], name: str) -> None:
    try:
        victim.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedError(f"{name} does not fit the victim as it is built now ({reason})") from error
