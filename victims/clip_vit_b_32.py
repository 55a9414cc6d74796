"""CLIP with a ViT-B/32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._clip import ClipFamily


@dataclass(frozen=True)
class ClipVitB32(ClipFamily):
    """CLIP with a ViT-B/32 (Radford et al., ICML 2021), a victim of MEM's and T2UE's transfer tables.

    OpenCLIP's ViT-B-32, 151,277,313 weights at 224 pixels. From scratch it is built for the data's image size.
    """

    architecture: ClassVar[str] = "ViT-B-32"
