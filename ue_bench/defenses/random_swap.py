"""Random swap: exchanges words of every caption."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Share
from ue_bench.defenses._edits import Edits
from ue_bench.defenses._words import draw, edits


@dataclass(frozen=True)
class RandomSwap(Edits):
    """Random swap (Easy Data Augmentation, Wei & Zou, EMNLP 2019; MEM's supplement, table 2).

    Drawn anew for every batch. EDA exchanges any two words; MEM's supplement says adjacent ones (``adjacent=true``).
    """

    alpha: Share = 0.1  # swaps as a share of the caption's words, at least one; 0: none; EDA
    adjacent: bool = False  # exchange neighbours only, as MEM's supplement describes it

    def strength(self) -> float:
        return self.alpha

    def edit(self, words: list[str], generator: torch.Generator) -> list[str]:
        words = list(words)
        for _ in range(edits(self.alpha, words) if len(words) > 1 else 0):
            first = draw(len(words) - 1, generator) if self.adjacent else draw(len(words), generator)
            second = (
                first + 1 if self.adjacent else (first + 1 + draw(len(words) - 1, generator)) % len(words)
            )
            words[first], words[second] = words[second], words[first]
        return words
