"""Random insertion: inserts synonyms of a caption's words at random places."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ue_bench.defenses._edits import SynonymEdits
from ue_bench.defenses._synonyms import synonyms
from ue_bench.defenses._words import choose, draw, edits

TRIES = 10  # words tried to find one that has synonyms; EDA's code


@dataclass(frozen=True)
class RandomInsertion(SynonymEdits):
    """Random insertion (Easy Data Augmentation, Wei & Zou, EMNLP 2019; MEM's supplement, table 2).

    Drawn anew for every batch. A trigger is moved or split only by an insertion before or between its words.
    MEM does not give its parameters; these are EDA's.
    """

    def edit(self, words: list[str], generator: torch.Generator) -> list[str]:
        words = list(words)
        for _ in range(edits(self.alpha, words)):
            for _ in range(TRIES):
                others = synonyms(choose(words, generator), self.synonyms)
                if others:
                    words.insert(draw(len(words), generator), others[0])
                    break
        return words
