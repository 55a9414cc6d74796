"""Seeds that derive from (suite seed, role), so that adding a method does not change other methods' numbers."""

from __future__ import annotations

import hashlib


def derive(seed: int, *role: str | int) -> int:
    """A 63-bit seed for one role of one trial; the same words give the same seed on every machine.

    Args:
        seed: the trial's seed, counted from the suite's first.
        role: what the numbers are for, such as ``("train", "order")``.
    """
    words = ":".join(str(word) for word in (seed, *role))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1
