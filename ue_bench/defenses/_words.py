"""Captions as words, for defenses that edit them (Easy Data Augmentation, Wei & Zou, EMNLP 2019)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

import torch

Item = TypeVar("Item")

# English function words that synonym replacement leaves alone.
_STOP = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves what which who whom this that these those am is are was were be
been being have has had having do does did doing a an the and but if or because as until while of at by for with
about against between into through during before after above below to from up down in out on off over under again
further then once here there when where why how all any both each few more most other some such no nor not only
own same so than too very s t can will just don should now
"""
STOP_WORDS = frozenset(_STOP.split())


def words_of(caption: str, clean: bool) -> list[str]:
    """The caption's words; ``clean`` makes all lower case, drops apostrophes, and makes other non-letters spaces.

    Example: ``words_of("A well-dressed man's dog.", True)`` is ``["a", "well", "dressed", "mans", "dog"]``.
    """
    if clean:
        caption = re.sub(r"['’]", "", caption).lower()
        caption = re.sub(r"[^a-z]", " ", caption)
    return caption.split()


def edits(alpha: float, words: list[str]) -> int:
    """How many words to edit: ``max(1, floor(alpha * words))``, and none for ``alpha`` 0."""
    return max(1, math.floor(alpha * len(words))) if alpha > 0 and words else 0


def draw(below: int, generator: torch.Generator) -> int:
    """A whole number from 0 to ``below`` - 1."""
    return int(torch.randint(below, (1,), generator=generator))


def choose(items: list[Item], generator: torch.Generator) -> Item:
    """One of the items."""
    return items[draw(len(items), generator)]


def shuffled(items: list[Item], generator: torch.Generator) -> list[Item]:
    """The items in another order."""
    return [items[number] for number in torch.randperm(len(items), generator=generator).tolist()]


def edited(captions: list[str], clean: bool, edit: Callable[[list[str]], list[str]]) -> list[str]:
    """Each caption after ``edit`` has changed its words; a caption without words stays as it is."""
    found = [(caption, words_of(caption, clean)) for caption in captions]
    return [" ".join(edit(words)) if words else caption for caption, words in found]
