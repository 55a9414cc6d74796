"""Retokenise: every caption is tokenized again from its text and otherwise left unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ue_bench import Defense
from ue_bench.defenses._words import edited


@dataclass(frozen=True)
class Retokenise(Defense):
    """Retokenise: tokenizes captions again from their text, triggers included. Ours; no paper has it.

    This is the control for defenses that edit text. A trigger is published as token ids, which a victim without a
    defense reads. A victim whose captions are edited reads the ids' text, cleaned, and not every trigger survives that.
    """

    clean: bool = True  # lower case, letters only, as in EDA's code

    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})

    def captions(self, captions: list[str], generator: torch.Generator) -> list[str]:
        # Only text that has changed is tokenized again. The space changes it, and is not a token.
        return [f"{text} " for text in edited(captions, self.clean, list)]
