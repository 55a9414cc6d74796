"""How a run computes, where results depend on it: a part of the ids of trials and of the keys of shared work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ue_bench.training.arithmetic import Switches
from ue_bench.training.gain import bf16_pays


@dataclass(frozen=True)
class Arithmetic:
    """How numbers are computed, as far as results depend on it beyond what recipe and method say.

    Attributes:
        threads: that compute on a CPU; 1 on an accelerator, whose results do not depend on them.
        cpu_bf16: whether a CPU computes in bf16 where recipe and method have ``bf16`` on, as accelerators always do.
        cuda_graphs: whether steps are captured as CUDA graphs; False on other devices.
    """

    threads: int = 1
    cpu_bf16: bool = False
    cuda_graphs: bool = False

    @property
    def switches(self) -> Switches:
        """As ``computing_as`` takes it."""
        return Switches(self.cpu_bf16, self.cuda_graphs)

    def of(self, parameters: Mapping[str, Any]) -> Arithmetic:
        """The part of it that the noise of a method with these parameters depends on.

        A method that computes in networks has a parameter ``bf16``. One without it, and one that has it off, computes
        in float32 on a CPU whatever the run does, so that its noise serves runs of either kind.
        """
        bf16 = parameters.get("bf16")
        return replace(
            self, cpu_bf16=self.cpu_bf16 and bool(bf16), cuda_graphs=self.cuda_graphs and bf16 is not None
        )

    def told(self) -> list[dict[str, Any]]:
        """What it adds to the keys of work: nothing as long as all is as usual, so that keys stay as they were."""
        other = {name: value for name, value in vars(self).items() if value != getattr(USUAL, name)}
        return [other] if other else []


USUAL = Arithmetic()


def arithmetic_on(device: torch.device, threads: int, cpu_bf16: bool, cuda_graphs: bool) -> Arithmetic:
    """The arithmetic that counts on a device: threads and bf16 are a CPU's matter, graphs a CUDA device's."""
    if device.type == "cpu":
        return Arithmetic(threads, cpu_bf16)
    return Arithmetic(cuda_graphs=cuda_graphs and device.type == "cuda")


def planned(device: torch.device, threads: int, cuda_graphs: bool, said: bool | None) -> Arithmetic:
    """The arithmetic of a run.

    Args:
        threads: that a noise or a training computes with.
        cuda_graphs: whether graphs are asked for.
        said: whether bf16 is wanted, as a person said; None: on a CPU, where the machine gains by it.
    """
    wanted = device.type == "cpu" and (bf16_pays(threads) if said is None else said)
    return arithmetic_on(device, threads, wanted, cuda_graphs)
