"""Random deletion: drops every word of a caption with some probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench import Share
from ue_bench.defenses._edits import Edits
from ue_bench.defenses._words import choose


@dataclass(frozen=True)
class RandomDeletion(Edits):
    """Random deletion (Easy Data Augmentation, Wei & Zou, EMNLP 2019; MEM's supplement, table 2).

    Drawn anew for every batch. A caption of one word stays as it is; one that would lose all its words keeps one.
    """

    probability: Share = 0.1  # probability that a word is dropped; EDA

    def strength(self) -> float:
        return self.probability

    def edit(self, words: list[str], generator: torch.Generator) -> list[str]:
        if len(words) == 1:
            return words
        stay = (torch.rand(len(words), generator=generator) >= self.probability).tolist()
        return [word for word, kept in zip(words, stay, strict=True) if kept] or [choose(words, generator)]
