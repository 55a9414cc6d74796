"""Random insertion: inserts synonyms of a caption's words at random places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ue_bench import Defense, Share
from ue_bench.defenses._synonyms import lacking, synonyms
from ue_bench.defenses._words import choose, draw, edited, edits

TRIES = 10  # words tried to find one that has synonyms; EDA's code


@dataclass(frozen=True)
class RandomInsertion(Defense):
    """Random insertion (Easy Data Augmentation, Wei & Zou, EMNLP 2019; MEM's supplement, table 2).

    Drawn anew for every batch. A trigger is moved or split only by an insertion before or between its words.
    MEM does not give its parameters; these are EDA's.
    """

    alpha: Share = 0.1  # words inserted as a share of the caption's words, at least one; 0: none; EDA
    synonyms: Literal["wordnet", "builtin"] = "wordnet"  # needs the extra "text"; builtin: a small table
    clean: bool = True  # lower case, letters only, as in EDA's code

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def unavailable(self) -> str:
        return lacking(self.synonyms) if self.alpha else ""

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        if self.alpha == 0:
            return captions
        return edited(captions, self.clean, lambda words: self._edit(words, generator))

    def _edit(self, words: list[str], generator: torch.Generator) -> list[str]:
        words = list(words)
        for _ in range(edits(self.alpha, words)):
            for _ in range(TRIES):
                others = synonyms(choose(words, generator), self.synonyms)
                if others:
                    words.insert(draw(len(words), generator), others[0])
                    break
        return words
