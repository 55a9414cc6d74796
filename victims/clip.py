"""Any of OpenCLIP's CLIP models, by its name there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ._clip import ClipFamily
from ._openclip import check_architecture


@dataclass(frozen=True)
class Clip(ClipFamily):
    """Any model of OpenCLIP (Ilharco et al., 2021) with CLIP's text tower, named clip:NAME, such as clip:ViT-L-14.

    From scratch, it is built for the data's image size, rounded up to whole patches.
    """

    argument: ClassVar[str] = "architecture"

    architecture: str = ""  # a name in open_clip.list_models()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_architecture(self.architecture, self.pretrained)
