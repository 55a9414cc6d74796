"""What CLIP victims share. The registry skips files that begin with an underscore: this one holds no victim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ue_bench import Victim

from ._openclip import Towers, build_clip, check_weights


@dataclass(frozen=True)
class ClipFamily(Victim):
    """An OpenCLIP model, built for the data's image size if it starts from scratch."""

    pretrained: str = (
        ""  # OpenCLIP's tag of weights, such as openai; "" from scratch, as MEM's and T2UE's tables
    )
    checkpoint: str = (
        ""  # local file of those or other weights: .safetensors, or a state dict .pt, .pth, .bin
    )
    quickgelu: bool = (
        False  # QuickGELU as in MEM's code; OpenAI's weights need it, from scratch it is a choice
    )
    init: Literal["fresh", "surrogate"] = (
        "fresh"  # surrogate: the first weights of a method's surrogate of this name; diagnostic, no result
    )

    files: ClassVar[frozenset[str]] = frozenset({"checkpoint"})
    paradigms: ClassVar[frozenset[str]] = frozenset({"contrastive"})
    architecture: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.pretrained, self.checkpoint, self.quickgelu, self.architecture)

    def left_out(self, paradigm: str = "") -> frozenset[str]:
        """With weights of its own, it is the victim from before there was a choice."""
        return frozenset({"init"} if self.init == "fresh" else ())

    def build(self, classes: int, image_size: tuple[int, int]) -> Towers:
        return build_clip(
            self.architecture,
            image_size,
            pretrained=self.pretrained,
            checkpoint=self.checkpoint,
            quickgelu=self.quickgelu,
        )
