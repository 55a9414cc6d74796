"""CLIP with a ResNet-50."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._clip import ClipFamily


@dataclass(frozen=True)
class ClipRN50(ClipFamily):
    """CLIP with a ResNet-50 (Radford et al., ICML 2021), the victim of MEM's and T2UE's tables.

    OpenCLIP's RN50, 102,007,137 weights at 224 pixels. From scratch it is built for the data's image size.
    """

    architecture: ClassVar[str] = "RN50"
