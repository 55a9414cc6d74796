"""No defense: the hacker trains on the protected images as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ue_bench import Defense


@dataclass(frozen=True)
class NoDefense(Defense):
    """No defense: the hacker trains on the protected images as they are."""

    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised", "contrastive"})
