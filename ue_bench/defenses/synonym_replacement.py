"""Synonym replacement: replaces some words of every caption by synonyms."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench.defenses._edits import SynonymEdits
from ue_bench.defenses._synonyms import synonyms
from ue_bench.defenses._words import STOP_WORDS, choose, edits, shuffled


@dataclass(frozen=True)
class SynonymReplacement(SynonymEdits):
    """Synonym replacement (Easy Data Augmentation, Wei & Zou, EMNLP 2019; MEM's supplement, table 2).

    Drawn anew for every batch. All occurrences of a chosen word are replaced by one synonym. A trigger's words are
    treated like all others, so few are replaced. MEM does not give its parameters; these are EDA's.
    """

    def edit(self, words: list[str], generator: torch.Generator) -> list[str]:
        candidates = [word for word in dict.fromkeys(words) if word not in STOP_WORDS]
        wanted = edits(self.alpha, words)
        for word in shuffled(candidates, generator):
            others = synonyms(word, self.synonyms) if wanted else ()
            if others:
                other = choose(list(others), generator)
                words = [other if each == word else each for each in words]
                wanted -= 1
        return words
