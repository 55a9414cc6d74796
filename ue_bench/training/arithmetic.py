"""How numbers are computed on a device: bf16, TF32, cuDNN's choices, CUDA graphs. Nothing else sets any of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Switches:
    """What a run decides beyond what recipes and methods say.

    Attributes:
        cpu_bf16: whether a CPU computes in bf16 where recipe or method ask for it, as an accelerator does.
        cuda_graphs: whether steps of fixed shapes are captured as CUDA graphs on a CUDA device.
    """

    cpu_bf16: bool = False
    cuda_graphs: bool = False


NONE = Switches()
_switches: ContextVar[Switches] = ContextVar("switches", default=NONE)


@contextlib.contextmanager
def computing_as(switches: Switches, device: torch.device) -> Iterator[None]:
    """Computes by these switches in the block, and on a CUDA device in the precision that the protocol states.

    There, float32 is float32, in matrix products and in convolutions (TF32 is off), and cuDNN takes algorithms that
    repeat themselves to the bit, without trying several. Flags are as before after the block.
    """
    token, before = _switches.set(switches), _flags()
    if device.type == "cuda":
        _set_flags(STATED)
    try:
        yield
    finally:
        if device.type == "cuda":
            _set_flags(before)
        _switches.reset(token)


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """bf16 arithmetic if it is wanted and used here: on GPUs that have it, on a CPU where the run says so.

    Weights, optimizer states, statistics of batch normalisation and losses stay float32: layers compute in bf16, while
    cross-entropy is among the functions that autocast computes in float32 on either kind of device. Whoever takes a
    softmax or sums in such a block must turn its input into float32 first: a CPU's autocast does not.
    """
    if device.type == "cuda":
        used = torch.cuda.is_bf16_supported()
    else:
        used = device.type == "cpu" and _switches.get().cpu_bf16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted and used)


def captures(device: torch.device) -> bool:
    """Whether steps on this device are to be captured as CUDA graphs."""
    return device.type == "cuda" and _switches.get().cuda_graphs


Flags = tuple[bool, bool, bool, str]  # cuDNN: benchmark, deterministic, TF32; precision of matrix products
STATED: Flags = (False, True, False, "highest")


def _flags() -> Flags:
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.get_float32_matmul_precision()


def _set_flags(flags: Flags) -> None:
    cudnn = torch.backends.cudnn
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, precision = flags
    torch.set_float32_matmul_precision(precision)
