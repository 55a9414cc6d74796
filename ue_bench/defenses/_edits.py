"""What the four edits of Easy Data Augmentation (Wei & Zou, EMNLP 2019) share: every batch's captions, word by word."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ue_bench import Defense, Share
from ue_bench.defenses._synonyms import lacking
from ue_bench.defenses._words import edited


@dataclass(frozen=True)
class Edits(Defense):
    """Edits the words of every caption, drawn anew for every batch."""

    clean: bool = True  # lower case, letters only, as in EDA's code

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    @abstractmethod
    def strength(self) -> float:
        """The share of words to edit; with 0 captions stay as they are, not even cleaned."""

    @abstractmethod
    def edit(self, words: list[str], generator: torch.Generator) -> list[str]:
        """The words of one caption, at least one, after the edit."""

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        if self.strength() == 0:
            return captions
        return edited(captions, self.clean, lambda words: self.edit(words, generator))


@dataclass(frozen=True)
class SynonymEdits(Edits):
    """Edits that need synonyms."""

    alpha: Share = 0.1  # synonyms as a share of the caption's words, at least one; 0: none; EDA
    synonyms: Literal["wordnet", "builtin"] = "wordnet"  # needs the extra "text"; builtin: a small table

    def strength(self) -> float:
        return self.alpha

    def unavailable(self) -> str:
        return lacking(self.synonyms) if self.alpha else ""
