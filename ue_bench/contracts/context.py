"""What the harness gives a method to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ue_bench.clock import Clock
from ue_bench.progress import Progress
from ue_bench.seeds import derive


@dataclass
class Context:
    """Device, randomness, clock, progress and surrogates for one call of ``prepare`` or ``protect``.

    Attributes:
        device: where to compute.
        seed: the call's seed; ``generator`` starts from it.
        clock: ``with context.clock.phase("warmup")`` times a phase of its own.
        progress: ``for batch in context.progress.track(batches, "rounds")``.
        build_victim: (name, classes, image_size, seed) -> module on ``device``, from the victims registry.
        prepared: what ``prepare`` returned, loaded from the store.
        notes: facts about the run that belong into the record, such as rounds used or a step cap reached.
        warnings: sentences for the record and the table's foot.
    """

    device: torch.device
    seed: int
    clock: Clock
    progress: Progress
    build_victim: Callable[[str, int, tuple[int, int], int], nn.Module]
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def surrogate(self, name: str, classes: int, image_size: tuple[int, int]) -> nn.Module:
        """A freshly initialised model from the victims registry, channels-last, on the device, seeded."""
        return self.build_victim(name, classes, image_size, derive(self.seed, "surrogate", name))

    def numpy_seed(self) -> int:
        """A seed below 2**32 for libraries that take NumPy's."""
        return derive(self.seed, "numpy") % 2**32

    def warn(self, sentence: str) -> None:
        """Keeps a warning for the record (once)."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
