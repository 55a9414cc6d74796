"""Synonym replacement: replaces some words of every caption by synonyms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ue_bench import Defense, Share
from ue_bench.defenses._synonyms import lacking, synonyms
from ue_bench.defenses._words import STOP_WORDS, choose, edited, edits, shuffled


@dataclass(frozen=True)
class SynonymReplacement(Defense):
    """Synonym replacement (Easy Data Augmentation, Wei & Zou, EMNLP 2019; MEM's supplement, table 2).

    Drawn anew for every batch. All occurrences of a chosen word are replaced by one synonym. A trigger's words are
    treated like all others, so few are replaced. MEM does not give its parameters; these are EDA's.
    """

    alpha: Share = 0.1  # share of words to replace, at least one; 0: none; EDA
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
        candidates = [word for word in dict.fromkeys(words) if word not in STOP_WORDS]
        wanted = edits(self.alpha, words)
        for word in shuffled(candidates, generator):
            others = synonyms(word, self.synonyms) if wanted else ()
            if others:
                other = choose(list(others), generator)
                words = [other if each == word else each for each in words]
                wanted -= 1
        return words
