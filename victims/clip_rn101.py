"""CLIP with a ResNet-101."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._clip import ClipFamily


@dataclass(frozen=True)
class ClipRN101(ClipFamily):
    """CLIP with a ResNet-101 (Radford et al., ICML 2021), a victim of MEM's and T2UE's transfer tables.

    OpenCLIP's RN101, 119,688,033 weights at 224 pixels. From scratch it is built for the data's image size.
    """

    architecture: ClassVar[str] = "RN101"
