"""Strip prefix: the first words of every caption are dropped, where a trigger would stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Count, Defense


@dataclass(frozen=True)
class StripPrefix(Defense):
    """Strip prefix: drops the first words of each caption. Ours; no paper has it.

    This is the simplest answer to a trigger that always stands in front; a clean caption loses as many words. A caption
    without more words keeps its last one. A trigger's tokens may decode to fewer or more words than there are tokens.
    """

    words: Count = 3  # dropped from the front; as many as the trigger has

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        split = [caption.split() for caption in captions]
        return [" ".join(words[self.words :] or words[-1:]) for words in split]
