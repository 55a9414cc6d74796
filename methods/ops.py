"""One-pixel shortcut: for each class one pixel is set to one colour, which a search over all pixels chooses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from ue_bench import Access, Budget, Context, Method, Norms, Perturbation, ProtectorView
from ue_bench.errors import ConfigError

AT_ONCE = 512  # images whose sums are taken at once
COLOURS = torch.tensor(
    list(itertools.product((0, 1), repeat=3)), dtype=torch.float64
)  # [8, 3]: corners of the cube
FLAT = 1e-12  # least variance by which a score is divided, where all images of a class agree


@dataclass(frozen=True)
class OPS(Method):
    """OPS, one-pixel shortcut (Wu et al., ICLR 2023), written from the paper.

    For each class, in order, all positions and the 8 corner colours of the RGB cube are scored on the class's images:
    the distance from pixel to colour must be large on average and vary little. The best pair of position and colour
    that no earlier class has taken is drawn on every image of the class. With a budget of k pixels these are the k best
    positions, each with its best colour.

    The paper's score (its equation 2) adds up the distance over the channels and divides its mean by its variance. The
    authors' code divides by the standard deviation, over all images and channels as one pool. ``score`` has both.

    The noise of a class is 255 steps up or down at its pixels: clipping turns that into the colour itself. It is not
    bounded by any Linf budget.
    """

    budget: Annotated[Budget, Norms("l0")] = Budget("l0", 1)  # pixels; paper: 1, its table 6 also 2 to 4
    granularity: str = "class"  # all images of a class get the same pixels
    score: Literal["paper", "code"] = "paper"  # mean over variance, or mean over standard deviation of a pool

    access: ClassVar[Access] = Access.IMAGES | Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("class",)
    variants: ClassVar[frozenset[str]] = frozenset({"score"})
    cost: ClassVar[str] = "one pass over the images: seconds on one CPU core, no network"
    published_names: ClassVar[tuple[str, ...]] = ("OPS",)

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        height, width = view.image_size
        pixels = int(self.budget.radius)
        if pixels * view.classes > 8 * height * width or pixels > height * width:
            raise ConfigError(
                f"ops needs {pixels} pixels for each of {view.classes} classes, and images of {height}x{width} "
                "pixels have too few: lower ops.budget"
            )
        noise = torch.zeros((view.classes, 3, height, width), dtype=torch.int16)
        free = torch.ones(height * width, 8, dtype=torch.bool)
        chosen = []
        for label in context.progress.track(range(view.classes), "class"):
            members = view.images[view.labels == label]
            if len(members) == 0:
                continue
            scores = score(*moments(members), self.score)
            for place, colour in best(scores, free, pixels):
                free[place, colour] = False
                noise[label, :, place // width, place % width] = (COLOURS[colour] * 510 - 255).to(torch.int16)
                chosen.append([label, place // width, place % width, *COLOURS[colour].int().tolist()])
        context.notes["pixels"] = chosen  # class, row, column, red, green, blue
        return Perturbation(noise, view.rows(self.granularity), self.budget)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the colours at each position, whatever the order of the images.

    All sums are whole numbers, which float64 holds exactly for up to 300,000 images.

    Args:
        images: uint8 [N, 3, H, W].

    Returns:
        (float64 [H * W, 3], float64 [H * W, 3, 3]), in [0, 1] pixel units.
    """
    pixels = images.flatten(2).permute(2, 0, 1)  # [positions, N, 3]
    total = torch.zeros((len(pixels), 3), dtype=torch.int64)
    products = torch.zeros((len(pixels), 3, 3), dtype=torch.float64)
    for part in pixels.split(AT_ONCE, dim=1):
        total += part.sum(dim=1, dtype=torch.int64)
        values = part.to(torch.float64)
        products += values.mT @ values
    covariance = len(images) * products - total[:, :, None].double() * total[:, None, :].double()
    return total.double() / (255 * len(images)), covariance / (255 * len(images)) ** 2


def score(mean: Tensor, covariance: Tensor, kind: str) -> Tensor:
    """float64 [H * W, 8]: how well each corner colour would mark a class at each position.

    The distance of a value v in [0, 1] to 0 is v, to 1 it is 1 - v, so the distances' moments follow from the colours'.

    Args:
        mean: float64 [H * W, 3], as from ``moments``.
        covariance: float64 [H * W, 3, 3].
        kind: ``paper`` or ``code``.

    Example: values 0.2 and 0.4 of a single channel, the others constantly 0, and the colour (1, 0, 0): the distances
    are 0.8 and 0.6, their mean is 0.7 and their variance 0.01, so the paper's score is 70.
    """
    signs = 1 - 2 * COLOURS  # the distance to a colour is colour + sign * value, channel by channel
    distances = COLOURS + signs * mean[:, None, :]
    if kind == "paper":
        average = distances.sum(dim=2)
        spread = torch.einsum("ci,pij,cj->pc", signs, covariance, signs)
    else:
        average = distances.mean(dim=2)
        squares = covariance.diagonal(dim1=1, dim2=2)[:, None, :] + distances.square()
        spread = (squares.mean(dim=2) - average.square()).clamp_min(FLAT).sqrt()
    return average / spread.clamp_min(FLAT)


def best(scores: Tensor, free: Tensor, count: int) -> list[tuple[int, int]]:
    """The ``count`` best positions, (position, colour), each position once; only pairs that are ``free``.

    Args:
        scores: float64 [H * W, 8].
        free: bool [H * W, 8].
    """
    top, colour = scores.where(free, torch.tensor(-1.0, dtype=scores.dtype)).max(dim=1)
    places = top.argsort(descending=True, stable=True)[:count]
    return [(int(place), int(colour[place])) for place in places]
