"""Autoregressive perturbations: for each class there is a 3x3 filter that maps its noise to zero."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from ue_bench import (
    Access,
    Budget,
    Context,
    Count,
    Method,
    Norms,
    Perturbation,
    Positive,
    ProtectorView,
    Range,
    Whole,
)
from ue_bench.contracts.perturbation import quantise
from ue_bench.crafting.scaling import scale
from ue_bench.errors import PerturbationError

SIDE = 32  # pixels: the image side that the paper's radius and search are for
MARGIN = 4  # rows and columns dropped at the top left
GROWTH = 1.05  # limit per pixel along a row or column; of 2,765 candidates that held, the largest was 1.03
PATTERNS = 3  # trial patterns per candidate
CANDIDATES = 16384  # candidates tried at once
BLOCK = 32  # survivors whose responses are computed at once
VALUES = 2**19  # float values in a chunk of patterns: 4 MiB, so that it stays in the cache
PAPER_BUDGET = Budget("l2", 1.0)


@dataclass(frozen=True)
class AR(Method):
    """AR (Sandoval-Segura et al., NeurIPS 2022), written from the paper: an autoregressive process for each class.

    Each class has one random 3x3 process for each colour channel; each image gets a fresh realisation of its
    class's process, so the process is class-wise and the noise is not. A single 3x3 convolution maps the noise to
    exactly zero, which is the shortcut that a victim learns. Neither pictures nor a model are needed.

    The paper's radii are L2 1.0 at 32 pixels and 3.0 at 96 (STL-10). ``budget`` is not scaled with the image size;
    for larger images say ``budget=l2:3.0``, or ``scale_budget=true``, which turns 1.0 into 3.0 at 96
    pixels. With L2 1.0 single pixels reach 16 to 38 steps, beyond Linf 8/255. With an ``linf`` budget (the
    authors' weaker variant) the largest value of each noise is the radius.

    Victims learn this shortcut late: their accuracy first rises, then collapses once the training data are fitted.
    Short runs and stems with a stride of 2 miss it.

    The authors' lists of coefficients are not included: a seeded search draws others, with the paper's two tests.
    A candidate must not diverge, and its noise must excite the filter of every process accepted before it.
    """

    budget: Annotated[Budget, Norms("l2", "linf")] = Budget(
        "l2", 1.0
    )  # over all values of an image, [0, 1] units; the paper's at 32 px
    granularity: str = "image"  # the process is the class's, the noise each image's own
    scale_budget: bool = False  # true: an l2 radius holds at 32 px and grows with the side (3.0 at 96)
    threshold: float | None = None  # least response of other filters; None: 10 up to 10 classes, else 3
    divergence: Positive = 50.0  # L2 norm; rejects candidates whose unscaled 32-px pattern exceeds it (paper)
    search_side: Annotated[int, Range(3)] = 32  # pixels of the search's patterns (paper)
    max_candidates: Count = 1_000_000  # processes to try before the search gives up (paper)
    margin: Whole | None = None  # rows and columns dropped at the top left; None: 4, from 224 px on 2 (paper)

    access: ClassVar[Access] = Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = (
        "negligible: 0.1 ms per image on one CPU core, no network, after seconds for its coefficients"
    )
    published_names: ClassVar[tuple[str, ...]] = ("AR",)

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        labels, budget = view.labels, self.promised_budget(view.image_size)
        if budget == PAPER_BUDGET and side(view.image_size) != SIDE:
            context.warn(
                f"AR's L2 radius of 1.0 is the paper's for {SIDE} pixels (3.0 for 96) and was kept at "
                f"{view.image_size[0]}x{view.image_size[1]}: scale_budget=true lets it grow with the side"
            )
        margin = self.margin
        if margin is None:
            margin = MARGIN if max(view.image_size) < 224 else 2
        threshold = self.threshold
        if threshold is None:
            threshold = 10.0 if view.classes <= 10 else 3.0
        processes, tried = search(
            view.classes,
            context.generator,
            threshold,
            self.divergence,
            self.max_candidates,
            self.search_side,
        )
        context.notes["candidates"] = tried
        noise = torch.empty((len(labels), 3, *view.image_size), dtype=torch.int8)
        chunk = max(1, VALUES // (3 * (view.image_size[0] + margin) * (view.image_size[1] + margin)))
        for label in context.progress.track(labels.unique().tolist(), "class"):
            for images in (labels == label).nonzero().flatten().split(chunk):
                patterns = generate(processes[label], len(images), view.image_size, margin, context.generator)
                part = quantise(scale(patterns, budget), budget)
                noise = noise.to(torch.promote_types(noise.dtype, part.dtype))
                noise[images] = part
        return Perturbation(noise=noise, rows=view.rows(self.granularity), budget=budget)

    def promised_budget(self, image_size: tuple[int, int]) -> Budget:
        """The budget; with ``scale_budget`` its l2 radius grows with the image's side."""
        if self.budget.norm == "l2" and self.scale_budget:
            return replace(self.budget, radius=self.budget.radius * side(image_size) / SIDE)
        return self.budget


def side(image_size: tuple[int, int]) -> float:
    """The side of a square with as many pixels."""
    return math.sqrt(image_size[0] * image_size[1])


def draw_processes(count: int, generator: Generator) -> Tensor:
    """Random processes: 8 normal coefficients a channel that sum to 1, and 0 at [2, 2] for the pixel itself.

    Returns:
        float64 [count, 3 channels, 3, 3]; [2, 1] weighs the pixel to the left, [1, 2] the one above.
    """
    weights = torch.randn((count, 3, 9), generator=generator, dtype=torch.float64)
    weights[..., 8] = 0
    return (weights / weights.sum(-1, keepdim=True)).unflatten(-1, (3, 3))


def draw_start(count: int, height: int, width: int, generator: Generator) -> Tensor:
    """float64 [count, 3, height, width]: N(0, 1) in the first two rows and columns, 0 elsewhere."""
    start = torch.zeros((count, 3, height, width), dtype=torch.float64)
    start[..., :2, :] = torch.randn((count, 3, 2, width), generator=generator, dtype=torch.float64)
    rest = (count, 3, max(height - 2, 0), min(width, 2))
    start[..., 2:, :2] = torch.randn(rest, generator=generator, dtype=torch.float64)
    return start


def row_map(processes: Tensor, width: int) -> Tensor:
    """The linear map from two rows and the next row's first two pixels to the rest of that row.

    Along a row the recurrence reads ``(I - B) row = A (two rows above, first two pixels)`` with B strictly lower
    triangular, so one triangular solve does what would be ``width - 2`` steps.

    Args:
        processes: float64 [..., 3, 3].
        width: of the rows, at least 3.

    Returns:
        float64 [..., width - 2, 2 * width + 2], for a row-major stretch of ``2 * width + 2`` pixels.
    """
    steps = width - 2
    window = torch.zeros((*processes.shape[:-2], steps, 3 * width), dtype=processes.dtype)
    step = torch.arange(steps)
    for row in range(3):
        for column in range(3):
            window[..., step, row * width + step + column] = processes[..., row, column, None]
    known, solved = window[..., : 2 * width + 2], window[..., 2 * width + 2 :]
    eye = torch.eye(steps, dtype=processes.dtype)
    return torch.linalg.solve_triangular(eye - solved, known, upper=False, unitriangular=True)


def scan(start: Tensor, processes: Tensor) -> Tensor:
    """Runs the recurrence: computes each pixel after the first two rows and columns from the 8 above and left of it.

    Sequential over rows only: a row of all images at once is one matrix product (see ``row_map``).

    Args:
        start: float64 [P, n, 3, H, W]; its first two rows and columns are kept, the rest is not read.
        processes: float64 [P, 3, 3, 3], one for each of the P groups of n images.

    Returns:
        float64 [P, n, 3, H, W]: ``x[i, j] = sum(process * x[i-2:i+1, j-2:j+1])`` in every channel.
    """
    groups, count, _, height, width = start.shape
    if height < 3 or width < 3:
        return start.clone()
    maps = row_map(processes, width).transpose(-1, -2)
    pixels = start.reshape(groups, count, 3, height * width).clone()
    for end in range(3 * width, (height + 1) * width, width):
        begin = end - width + 2
        for channel in range(3):
            above = pixels[:, :, channel, begin - 2 * width - 2 : begin]
            pixels[:, :, channel, begin:end] = torch.bmm(above, maps[:, channel])
    return pixels.view(start.shape)


def generate(
    process: Tensor, count: int, image_size: tuple[int, int], margin: int, generator: Generator
) -> Tensor:
    """Fresh, unscaled noise of one process.

    Args:
        process: float64 [3, 3, 3].
        count: of images.
        image_size: (height, width) of the noise, without the margin.
        margin: rows and columns to drop at the top left.

    Returns:
        float64 [count, 3, height, width].

    Raises:
        PerturbationError: if the process overflowed.
    """
    start = draw_start(count, image_size[0] + margin, image_size[1] + margin, generator)
    noise = scan(start[None], process[None])[0, :, :, margin:, margin:]
    if not bool(noise.isfinite().all()):
        raise PerturbationError(
            f"an autoregressive process diverged at {image_size[0]}x{image_size[1]} pixels: "
            "lower ar.divergence or take another seed"
        )
    return noise


def matching_filters(processes: Tensor) -> Tensor:
    """[P, 3, 3, 3]: the filters that map their own process's noise to zero, channel by channel."""
    filters = processes.clone()
    filters[..., 2, 2] = -1
    return filters


def response(noise: Tensor, filters: Tensor) -> Tensor:
    """[n, P]: ReLU of the 3x3 convolution over all channels, summed over its output; 0 for matching noise."""
    return functional.conv2d(noise, filters).relu().sum(dim=(2, 3))


def holding(processes: Tensor) -> Tensor:
    """bool [K]: candidates that do not grow along a row or a column by more than ``GROWTH`` a pixel.

    The test of an AR(2) recurrence's stability, without drawing any noise: four of five candidates fail it, and
    they would fail the divergence check as well.
    """
    weights = processes.numpy()
    near = weights[..., [2, 1], [1, 2]] / GROWTH
    far = weights[..., [2, 0], [0, 2]] / GROWTH**2
    return torch.from_numpy(((far > -1) & (np.abs(near) + far < 1)).all(axis=(1, 2)))


def trial(
    processes: Tensor, divergence: float, generator: Generator, side: int = SIDE
) -> tuple[Tensor, Tensor]:
    """One pattern of each candidate, dropping candidates as soon as their norm passes ``divergence``.

    Most candidates diverge within a few rows. The norm only grows from row to row, so stopping early rejects the same
    candidates as the norm of the whole pattern would. Pixels are computed one after the other, for all candidates at
    once, in NumPy, because torch's threads would slow down thousands of small steps.

    Args:
        processes: float64 [K, 3, 3, 3].
        side: of the patterns in pixels, without the margin.

    Returns:
        (int64 [k], the remaining candidates; float64 [k, 3, side, side], their unscaled patterns).
    """
    weights, left = processes.permute(2, 3, 1, 0).contiguous().numpy(), np.arange(len(processes))
    width, energy = side + MARGIN, np.zeros(len(processes))

    def draw(*shape: int) -> np.ndarray:
        return torch.randn(shape, generator=generator, dtype=torch.float64).numpy()

    rows = list(draw(2, width, 3, len(left)))
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(2, width):
            row = np.zeros((width, 3, len(left)))
            row[:2] = draw(2, 3, len(left))
            for u, v in itertools.product(range(2), range(3)):
                row[2:] += weights[u, v] * rows[u - 2][v : v + width - 2]
            for pixel in range(2, width):
                row[pixel] += weights[2, 0] * row[pixel - 2] + weights[2, 1] * row[pixel - 1]
            rows.append(row)
            if index < MARGIN:
                continue
            energy += np.square(row[MARGIN:]).sum(axis=(0, 1))
            calm = energy <= divergence**2  # false for NaN
            if calm.sum() < 0.9 * len(left) or index == width - 1:  # copying the others must be worth it
                left, energy, weights = left[calm], energy[calm], weights[..., calm]
                rows = [kept[..., calm] for kept in rows]
    patterns = np.stack([row[MARGIN:] for row in rows[MARGIN:]])
    return torch.from_numpy(left), torch.from_numpy(patterns).permute(3, 2, 0, 1)


def search(
    classes: int,
    generator: Generator,
    threshold: float = 10.0,
    divergence: float = 50.0,
    max_candidates: int = 1_000_000,
    side: int = SIDE,
) -> tuple[Tensor, int]:
    """Draws candidates until ``classes`` of them do not diverge and distinguish each other's noise.

    Greedy, in the order drawn. A candidate makes three patterns; it is rejected if one of them is not finite or
    has an L2 norm above ``divergence``, or if its last pattern, scaled to L2 1.0, gets a response below
    ``threshold`` from the filter of a process accepted before.

    Args:
        side: of the patterns in pixels; beyond 32 both limits grow with it.

    Returns:
        (processes float64 [classes, 3, 3, 3], the number of candidates tried).

    Raises:
        PerturbationError: if ``max_candidates`` are tried and too few accepted.
    """
    accepted = torch.empty((0, 3, 3, 3), dtype=torch.float64)
    tried, least, most = 0, threshold * side / SIDE, divergence * side / SIDE
    while tried < max_candidates:
        batch = draw_processes(min(CANDIDATES, max_candidates - tried), generator)
        calm = holding(batch).nonzero().flatten()
        for _ in range(PATTERNS):
            left, patterns = trial(batch[calm], most, generator, side)
            calm = calm[left]
        probes = scale(patterns, PAPER_BUDGET)
        for block, probe in zip(calm.split(BLOCK), probes.split(BLOCK), strict=True):
            known, rivals = len(accepted), torch.cat([accepted, batch[block]])
            apart = (response(probe, matching_filters(rivals)) >= least).numpy()
            members = list(range(known))
            for row, candidate in enumerate(block.tolist()):
                if len(members) < classes and apart[row, members].all():
                    members.append(known + row)
                    last = tried + candidate + 1
            accepted = rivals[members]
            if len(accepted) == classes:
                return accepted, last
        tried += len(batch)
    raise PerturbationError(
        f"the search accepted {len(accepted)} processes of {classes} in {tried} candidates, its cap: "
        f"lower ar.threshold (now {threshold:g}) or raise ar.max_candidates"
    )
