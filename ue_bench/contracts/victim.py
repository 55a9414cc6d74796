"""The contract of a victim: it builds a model, and may adjust the paradigm's recipe."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ue_bench.contracts.content import Content
from ue_bench.training.recipe import Recipe


@dataclass(frozen=True)
class Victim(Content):
    """A model that a hacker trains on protected data.

    Attributes:
        paradigms: what it can be trained for.
        learns: from ``labels``, or from ``views`` of images without labels. The module of the latter has ``objective``,
            (images float [B, 3, H, W] in [0, 1], generator) -> the scalar loss of a training step; ``stepped``, called
            after each; ``compute_in``, which is told whether the recipe has bf16; ``features``, images -> float [B, D];
            and ``classifier``, a linear layer on them, which the harness fits to clean images and labels after every
            epoch.

    A field ``start``, if it has one, says how its first weights are drawn (``ue_bench.training.starts``): the harness
    draws them anew after ``build`` unless it is ``own``. A field ``init``, if it has one, may be ``surrogate``: then
    the harness builds it from the seed of a method's surrogate of the same name, so that both have equal weights.
    """

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    learns: ClassVar[str] = "labels"

    @property
    def diagnostic(self) -> str:
        """Why its results explain a method and say nothing about protection, in a sentence; "" if they do say it."""
        if getattr(self, "init", "fresh") != "surrogate":
            return ""
        return (
            "diagnostic, no result: the victim starts with the first weights of the method's surrogate, which no "
            "hacker has"
        )

    @abstractmethod
    def build(self, classes: int, image_size: tuple[int, int]) -> nn.Module:
        """A freshly initialised module: float [B, 3, H, W] in [0, 1] -> logits float [B, classes].

        The harness seeds torch before it calls.
        """

    def recipe(self, recipe: Recipe) -> Recipe:
        """The paradigm's recipe as this victim needs it (a ViT does not train with SGD 0.1)."""
        return recipe
