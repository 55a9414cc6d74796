"""CLIP with a ViT-B/16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._clip import ClipFamily


@dataclass(frozen=True)
class ClipVitB16(ClipFamily):
    """CLIP with a ViT-B/16 (Radford et al., ICML 2021), a victim in T2UE's code.

    OpenCLIP's ViT-B-16, 149,620,737 weights at 224 pixels. From scratch it is built for the data's image size.
    """

    architecture: ClassVar[str] = "ViT-B-16"
