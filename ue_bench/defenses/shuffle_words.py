"""Shuffle words: puts the words of every caption in another order, so that no word has a fixed place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Defense
from ue_bench.defenses._words import shuffled


@dataclass(frozen=True)
class ShuffleWords(Defense):
    """Shuffle words: puts each caption's words in a random order, new for every batch. Ours; no paper has it.

    A trigger keeps its words and loses its place.
    """

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        return [" ".join(shuffled(caption.split(), generator)) for caption in captions]
