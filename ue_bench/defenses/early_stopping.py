"""Early stopping: the victim of the epoch that does best on a few clean images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ue_bench import Defense, PositiveShare, Whole


@dataclass(frozen=True)
class EarlyStopping(Defense):
    """Early stopping by clean images: this hacker has clean versions of a share of the training images.

    They are drawn by class and left out of training. After every epoch they are classified; the victim counts at its
    first epoch with the most of them right. All epochs are trained, since the schedule depends on their number.
    Without clean images, the best epoch in every record, which test images chose, is the upper bound.
    """

    clean: PositiveShare = 0.05  # share of the training images that are clean and not trained on; ours
    images: Whole = 0  # their number, in place of the share; 0: the share

    comparable_training: ClassVar[bool] = False  # an early epoch does not fit the training data yet
    holds_clean: ClassVar[bool] = True

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """The share was the only way to say it once."""
        return frozenset() if self.images else frozenset({"images"})

    def held_out(self, count: int) -> int:
        return self.images or round(self.clean * count)
