"""The state of the process that all content shares.

It is restored after each piece of work, so that no content changes another's numbers.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch


class Setting(NamedTuple):
    """One setting of the process: its name in words, how it is read and how it is set."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


@contextlib.contextmanager
def restored(tell: Callable[[str], object]) -> Iterator[None]:
    """Restores every setting that the block leaves changed; what the block prints goes to standard error.

    Args:
        tell: called with the name of each changed setting that could affect the numbers of others. Random states,
            warning filters and new environment variables, which imports add, are restored silently.
    """
    before = [(setting, _read(setting)) for setting in SETTINGS]
    drawn = random.getstate(), np.random.get_state(), torch.get_rng_state()
    variables, recursion = dict(os.environ), sys.getrecursionlimit()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            for setting, value in before:
                if _read(setting) != value and value is not None:
                    setting.write(value)
                    tell(setting.name)
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])
            torch.set_rng_state(drawn[2])
            sys.setrecursionlimit(recursion)
            for name in _restore_variables(variables):
                tell(f"the environment variable {name}")


def _read(setting: Setting) -> Any:
    """The setting's value; None if it cannot be read, such as a working folder that was deleted."""
    try:
        return setting.read()
    except OSError:
        return None


def _restore_variables(before: dict[str, str]) -> list[str]:
    """Restores the environment variables; returns the names of earlier ones that had been changed or removed."""
    altered = [name for name, value in before.items() if os.environ.get(name) != value]
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update({name: before[name] for name in altered})
    return altered


def _flushes_denormals() -> bool:
    return float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1) == 0


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_inference_mode(enabled: bool) -> None:
    mode = torch.inference_mode(enabled)
    mode.__enter__()
    _entered.append(mode)  # the mode ends with the object that stands for it


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))


def _set_autocast(enabled: tuple[bool, ...]) -> None:
    for kind, on in zip(("cpu", "cuda"), enabled, strict=True):
        torch.set_autocast_enabled(kind, on)


def _cudnn() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic


def _set_cudnn(flags: tuple[bool, ...]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = flags


def _handlers() -> tuple[Any, ...]:
    return tuple(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))


def _set_handlers(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def handlers_restored() -> Iterator[None]:
    """Restores after the block what this process does at Ctrl-C and SIGTERM, which libraries may change."""
    before = _handlers()
    try:
        yield
    finally:
        _set_handlers(before)


_entered: list[torch.inference_mode] = []
SETTINGS = (
    Setting("torch's default device", torch.get_default_device, _set_default_device),
    Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("torch's inference mode", torch.is_inference_mode_enabled, _set_inference_mode),
    Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting(
        "torch's deterministic mode", torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    ),
    Setting(
        "torch's precision of matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting("torch's flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    Setting("torch's anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    Setting("torch's autocast", _autocast, _set_autocast),
    Setting("cuDNN's flags", _cudnn, _set_cudnn),
    Setting("NumPy's handling of floating-point errors", np.geterr, lambda kinds: np.seterr(**kinds)),
    Setting("the working folder", os.getcwd, os.chdir),
    Setting("the handlers of signals", _handlers, _set_handlers),
)
