"""CUDA: each class's images are blurred by a random filter of the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ue_bench import Access, Budget, Context, Method, Norms, Perturbation, ProtectorView, Range, Whole
from ue_bench.crafting.whole_noise import new_noise
from ue_bench.errors import ConfigError

AT_ONCE = 256  # images that are filtered at once


@dataclass(frozen=True)
class CUDA(Method):
    """CUDA, convolution-based unlearnable data (Sadasivan et al., CVPR 2023), written from the paper.

    Each class has one random filter, the same for all three channels: one weight is 1, at a random place, the others
    are uniform from 0 to ``blur``. Each image is convolved with its class's filter, zeros beyond its border, and
    divided by its largest value. So pictures are rewritten and nothing bounds the change of a pixel: the budget is
    none, tables show what was measured, and there is no random noise of the same size.

    ``filters=image`` gives every image a filter of its own: the same blur without a word about the class, a control.

    The authors' code draws the filters with NumPy, in the order used here, so a ``filter_seed`` is their key. It
    truncates to 8 bits, half a step darker on average, which ``official_floor`` does as well.
    """

    budget: Annotated[Budget, Norms("none")] = Budget(
        "none"
    )  # none: pictures are rewritten; measured in records
    granularity: str = "image"  # the filter is the class's, the change each image's own
    filters: Literal["class", "image"] = "class"  # class; image: each image its own filter, a control (ours)
    kernel: Annotated[int, Range(3)] = 3  # pixels per side, odd; paper. ImageNet-100: 9
    blur: Annotated[float, Range(0, 1)] = 0.3  # largest weight beside the 1; paper. ImageNet-100: 0.06
    filter_seed: Whole | None = None  # NumPy's seed of the filters, below 2^32; None: from the trial's seed
    official_floor: bool = False  # truncate to 8 bits, as the authors' code does; false: to nearest

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    variants: ClassVar[frozenset[str]] = frozenset({"filters", "filter_seed", "official_floor"})
    cost: ClassVar[str] = "negligible: one convolution an image, no network"
    published_names: ClassVar[tuple[str, ...]] = ("CUDA",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ConfigError(
                f"cuda.kernel must be odd, not {self.kernel}: say cuda.kernel={self.kernel + 1}"
            )
        if self.filter_seed is not None and self.filter_seed >= 2**32:
            raise ConfigError(f"cuda.filter_seed must be below 2^32, not {self.filter_seed}")

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        images, labels = view.images, view.labels
        own = labels if self.filters == "class" else torch.arange(len(images))
        seed = context.numpy_seed() if self.filter_seed is None else self.filter_seed
        count = view.classes if self.filters == "class" else len(images)
        drawn = draw_filters(count, self.kernel, self.blur, seed)
        noise = new_noise(len(images), view.image_size, self.budget.most_steps)
        for index in context.progress.track(torch.arange(len(images)).split(AT_ONCE), "batch"):
            noise[index] = (
                filtered(images[index], drawn[own[index]], self.official_floor) - images[index].short()
            )
        silent = ~noise.flatten(1).any(dim=1)
        return Perturbation(noise, view.rows(self.granularity), self.budget, partial=bool(silent.any()))


def draw_filters(count: int, kernel: int, blur: float, seed: int) -> Tensor:
    """float64 [count, kernel, kernel]: the filters, drawn in the order of the authors' code.

    It draws weights for three channels and a place for the 1, and then uses the first channel for all of them.
    """
    draws = np.random.RandomState(seed)
    found = np.empty((count, kernel, kernel))
    for number in range(count):
        found[number] = draws.uniform(0, blur, (3, 1, kernel, kernel))[0, 0]
        row, column = draws.randint(kernel), draws.randint(kernel)
        found[number, row, column] = 1
    return torch.from_numpy(found)


def filtered(images: Tensor, filters: Tensor, floor: bool = False) -> Tensor:
    """int16 [B, 3, H, W], 0..255: each image convolved with its filter and scaled so that its largest value is 255.

    Args:
        images: uint8 [B, 3, H, W].
        filters: float64 [B, k, k], k odd; not turned round, zeros beyond the border.
        floor: truncate instead of rounding to nearest.

    Example: a filter of 1 at [0, 0] of 3x3, else 0, moves an image one pixel down and to the right.
    """
    count, channels = images.shape[:2]
    values = images.to(torch.float64).flatten(0, 1)[None]
    weights = filters.repeat_interleave(channels, dim=0)[:, None]
    blurred = functional.conv2d(values, weights, padding=filters.shape[-1] // 2, groups=count * channels)
    blurred = blurred[0].unflatten(0, (count, channels))
    largest = blurred.flatten(1).amax(dim=1).clamp_min(1e-9)  # a black image stays black
    scaled = blurred * (255 / largest)[:, None, None, None]
    return (scaled.floor() if floor else scaled.round()).clamp_(0, 255).to(torch.int16)
