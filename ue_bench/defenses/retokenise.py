"""Retokenise: every caption is read as text, with nothing else done to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Defense
from ue_bench.defenses._words import edited


@dataclass(frozen=True)
class Retokenise(Defense):
    """Retokenise: captions become token ids anew, triggers included. Ours, no paper has it.

    The control of defenses that edit text. A trigger is published as token ids, and a victim without a defense reads
    those; one whose captions were edited reads what the ids decode to, cleaned. Not every trigger survives that.
    """

    clean: bool = True  # lower case, letters only, as EDA's code

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        # Only text that differs is turned into ids anew. The blank makes it differ, and is no token.
        return [f"{text} " for text in edited(captions, self.clean, list)]
