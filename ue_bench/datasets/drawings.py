"""Drawn pictures with plain captions, nothing to download: public data for small generators."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from ue_bench import ImageSet
from ue_bench.datasets._shapes.captioning import a, facts
from ue_bench.datasets._shapes.drawing import draw
from ue_bench.datasets._shapes.drawn import Drawn
from ue_bench.datasets._shapes.scenes import Scenes, sample
from ue_bench.errors import ConfigError

_CAPTIONS = 4  # forms of captions
_TILT = 0.1  # share of the tilt that ``shapes`` draws: nearly upright


@dataclass(frozen=True)
class Drawings(Drawn):
    """Drawn pictures of one nearly upright shape with plain captions: a public set beside ``shapes``.

    The shapes, colours and textures of ``shapes``, but hardly turned and without clutter, so that a small CLIP learns
    in a minute what the words mean. Captions alternate between the shape alone ("a photo of a star") and the shape with
    a colour or texture ("a photo of a red star"). ``shapes`` has none of these pictures and captions. Made for methods
    that learn from public pairs, as T2UE's paper learns from MS-COCO and protects CIFAR-10. Nothing is downloaded.
    Raise ``version`` when the same fields draw other pixels or captions than before.
    """

    train_images: int = 3000
    test_images: int = 500
    seed: int = 0
    captions_per_image: int = 2  # 1 to 4, each of another form

    streams = (2, 3)  # those of ``shapes`` are 0 and 1

    def __post_init__(self) -> None:
        for name, least in (("train_images", 1), ("test_images", 1), ("seed", 0), ("captions_per_image", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"drawings.{name} must be at least {least}, not {getattr(self, name)}")
        if self.captions_per_image > _CAPTIONS:
            raise ConfigError(
                f"drawings.captions_per_image must be at most {_CAPTIONS}, not {self.captions_per_image}"
            )

    def part(self, stream: int, count: int, size: int) -> ImageSet:
        seed = (self.seed, stream)
        scenes = sample(count, seed)
        nothing = {name: getattr(scenes, name) * 0 for name in ("lines", "blobs")}
        scenes = dataclasses.replace(scenes, angle=scenes.angle * _TILT, **nothing)
        captions = tuple(_captions(scenes, row, self.captions_per_image) for row in range(count))
        return ImageSet(images=torch.from_numpy(draw(scenes, size, seed)), captions=captions)


def _captions(scenes: Scenes, row: int, count: int) -> tuple[str, ...]:
    """``count`` sentences, every other one about the shape alone; which one is first is drawn for each picture."""
    wording = scenes.wording[row]
    words = facts(scenes, row, float(wording[1]))
    shape, coloured = a(words.shape), a(words.colour, words.shape)
    textured = a(words.adjective or "plain", words.shape)
    texts = [
        f"a photo of {shape}",
        f"a photo of {coloured}",
        f"a picture of {shape}",
        f"a picture of {textured}",
    ]
    first = int(wording[0] * len(texts))
    return tuple((texts[first:] + texts[:first])[:count])
