"""Early stopping without any clean image: the epoch that does best on protected images that are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ue_bench import Defense, PositiveShare


@dataclass(frozen=True)
class HeldOutStopping(Defense):
    """Early stopping on a held-out part of the published set: what any hacker can do, who has no clean image.

    The part is drawn by class and left out of training. After every epoch it is classified; the victim counts at its
    first epoch with the most of it right. As its images are protected like the others, noise that is easy to learn is
    right in every epoch, and stopping by it chooses the noise. The fair version of ``early_stopping``.
    """

    share: PositiveShare = 0.1  # of the training images, held out as they were published; ours

    comparable_training: ClassVar[bool] = False  # an early epoch does not fit the training data yet

    def held_out(self, count: int) -> int:
        return round(self.share * count)
