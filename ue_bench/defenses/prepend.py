"""Prepend: the same neutral words before every caption, so that a trigger does not stand first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Defense
from ue_bench.errors import ConfigError


@dataclass(frozen=True)
class Prepend(Defense):
    """Prepend: puts neutral words before each caption. Ours; no paper has it.

    A trigger keeps its words and moves behind ``text``.
    """

    text: str = "a photo of"  # CLIP's usual beginning of a prompt

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text.strip():
            raise ConfigError(f"prepend.text must hold at least one word, not {self.text!r}")

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        return [f"{self.text} {caption}" for caption in captions]
