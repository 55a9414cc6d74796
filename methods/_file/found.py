"""The content of a file or folder as it was read, before it is interpreted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Found:
    """An array as it was read.

    Attributes:
        source: its name in errors.
        array: [R, 3, H, W] or [R, H, W, 3] numbers of any type; may be mapped to the file.
        rows: integers [examples], which of the R entries each example gets; None: inferred from R.
        matched: how pictures were matched to the training set's, in words; "" for arrays.
    """

    source: str
    array: Any
    rows: np.ndarray | None = None
    matched: str = ""

    def describe(self) -> str:
        """``delta.npy (float32 [50000, 3, 32, 32])``."""
        return f"{self.source} ({self.array.dtype} {list(self.array.shape)})"
