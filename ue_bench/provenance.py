"""The origin of a number: machine, versions, commit."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ue_bench.errors import ConfigError

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy", "scikit-learn")


def find_device(word: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` means; raises ConfigError if it is absent."""
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(word)
        if device.type not in ("cpu", "cuda", "mps"):
            raise ValueError(word)
    except (RuntimeError, ValueError):
        raise ConfigError(f"unknown device '{word}': say auto, cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device={word}, but torch sees no CUDA device here: use device=cpu, or device=auto"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={word}, but there are {torch.cuda.device_count()} CUDA devices, counted from 0"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps, but torch sees no Apple GPU here: use device=cpu, or device=auto")
    return device


def describe_device(device: torch.device) -> dict[str, Any]:
    """Type and name of a device, and the number of threads for a CPU."""
    if device.type == "cuda":
        return {
            "type": "cuda",
            "name": torch.cuda.get_device_name(device),
            "threads": torch.get_num_threads(),
        }
    return {"type": device.type, "name": processor(), "threads": torch.get_num_threads()}


@functools.lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """The versions of the software on which a result depends."""
    from ue_bench import __version__

    found = {"ue_bench": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@functools.lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit of the checkout that this code runs from, followed by ``+`` if files differ from it."""
    folder = Path(__file__).resolve().parent
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        if Path(top) != folder.parent:
            return None
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return _git(folder, "rev-parse", "--short=10", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def processor() -> str:
    """The name of this machine's CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
