"""Synthetic perturbations: samples of scikit-learn's Gaussian clusters, drawn as patches of flat colour."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

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
)
from ue_bench.contracts.perturbation import quantise, sizes
from ue_bench.crafting.scaling import scale
from ue_bench.errors import ConfigError

VALUES = 2**19  # float values in a chunk of noise: 2 MiB, so that it stays in the cache
PAPER_BUDGET = Budget("l2", 1.304132372757743)


@dataclass(frozen=True)
class SynPer(Method):
    """SynPer, also LSP (Yu et al., KDD 2022), written from the paper: linearly separable noise from the labels alone.

    Each class is one Gaussian cluster of scikit-learn's ``make_classification`` in as many dimensions as the noise
    has cells; each image gets a sample of its label's cluster, drawn as a grid of flat colour patches and scaled to
    an L2 norm of sqrt(3 * height * width) * epsilon / 255. Single values reach 8 to 17 steps, beyond Linf 8/255.

    The default ``budget`` is that norm at 32 pixels and epsilon 6; unless it is set, it follows the image's size and
    ``epsilon``. Any other budget is used as given; with ``linf`` the largest value of each noise is the radius.
    """

    budget: Annotated[Budget, Norms("l2", "linf")] = Budget(
        "l2", 1.304132372757743
    )  # [0, 1] units at 32 px; follows size and epsilon
    granularity: str = "image"  # each image has its own sample of its class's cluster
    epsilon: Positive = 6.0  # steps of 1/255, root mean square over an image, for the default budget (paper)
    grid: Count = 4  # cells per side: 8-px patches at 32 px (paper); APBench: 7 (32-px patches) at 224 px
    class_separation: float = 10.0  # make_classification's class_sep, half the hypercube's edge (paper)
    linf_clamp: Annotated[int, Range(0, 255)] = 0  # steps of 1/255; 8 keeps Linf 8/255 (ours); 0: none
    official_floor: bool = False  # true: 8-bit by truncation as in the published code, half a step darker

    access: ClassVar[Access] = Access.LABELS
    paradigms: ClassVar[frozenset[str]] = frozenset({"supervised"})
    granularities: ClassVar[tuple[str, ...]] = ("image",)
    cost: ClassVar[str] = "negligible: 0.1 ms per image on one CPU core, no network"
    published_names: ClassVar[tuple[str, ...]] = ("SynPer",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.official_floor and self.budget != PAPER_BUDGET:
            raise ConfigError(
                "synper.official_floor repeats the authors' code, which exceeds its own radius: "
                "leave out either official_floor or budget"
            )

    def protect(self, view: ProtectorView, context: Context) -> Perturbation:
        labels = view.labels
        height, width = view.image_size
        if self.grid > min(height, width):
            raise ConfigError(f"synper.grid is {self.grid}, more than the image's {height}x{width} pixels")
        counts = torch.bincount(labels, minlength=view.classes).tolist()
        points = clusters(counts, 3 * self.grid**2, context.numpy_seed(), self.class_separation)
        budget = self._budget(view.image_size)
        order = labels.argsort(stable=True)
        noise = torch.empty((len(labels), 3, height, width), dtype=torch.int8)
        worst, chunk = 0.0, max(1, VALUES // (3 * height * width))
        for images, part in zip(order.split(chunk), points.split(chunk), strict=True):
            delta = scale(patches(part, self.grid, view.image_size), budget)
            if self.linf_clamp:
                delta = delta.clamp(-self.linf_clamp / 255, self.linf_clamp / 255)
            steps = quantise(delta, budget, self.official_floor)
            worst = max(worst, float(sizes(steps, "l2").max()))
            noise = noise.to(torch.promote_types(noise.dtype, steps.dtype))
            noise[images] = steps
        if self.official_floor:
            budget = Budget("l2", max(worst, budget.radius))
        return Perturbation(noise=noise, rows=view.rows(self.granularity), budget=budget)

    def promised_budget(self, image_size: tuple[int, int]) -> Budget:
        """The budget; the default one follows size and ``epsilon``, and flooring may add a step to every value."""
        if self.budget != PAPER_BUDGET:
            return self.budget
        values = 3 * math.prod(image_size)
        return Budget("l2", math.sqrt(values) * (self.epsilon + self.official_floor) / 255)

    def _budget(self, image_size: tuple[int, int]) -> Budget:
        """The budget that the noise is scaled to before it is floored or rounded."""
        return replace(self, official_floor=False).promised_budget(image_size)


def clusters(counts: list[int], features: int, seed: int, separation: float = 10.0) -> Tensor:
    """Samples of linearly separable Gaussian clusters, one cluster per class, around corners of a hypercube.

    With equal counts these are exactly scikit-learn's samples for as many points as there are images. With unequal
    counts its class weights follow the counts, and surplus samples are left out.

    Args:
        counts: samples wanted of each class.
        features: dimensions of a sample.
        seed: below 2**32.
        separation: half the edge of the hypercube.

    Returns:
        float32 [sum(counts), features], class by class, each in scikit-learn's order.
    """
    classes, total = len(counts), sum(counts)
    if classes > 2**features:
        raise ConfigError(f"{features} values have no {classes} corners: raise synper.grid")
    weights = None
    if min(counts) != max(counts):
        weights = [count / total for count in counts]
        total += classes
    from sklearn.datasets import make_classification  # slow to import, and planning does not need it

    points, labels = make_classification(
        n_samples=total,
        n_features=features,
        n_informative=features,
        n_redundant=0,
        n_repeated=0,
        n_classes=classes,
        n_clusters_per_class=1,
        weights=weights,
        class_sep=separation,
        flip_y=0,
        random_state=seed,
    )
    picked = [points[labels == label][:count] for label, count in enumerate(counts)]
    return torch.cat([torch.from_numpy(part) for part in picked]).float()


def patches(points: Tensor, grid: int, image_size: tuple[int, int]) -> Tensor:
    """Each sample as a grid of flat colour patches.

    Args:
        points: [n, grid * grid * 3]: rows of the grid, then columns, then colours.
        image_size: (height, width); where ``grid`` does not divide it, patches differ by one pixel.

    Returns:
        [n, 3, height, width].
    """
    height, width = image_size
    cells = points.unflatten(1, (grid, grid, 3)).permute(0, 3, 1, 2)
    rows, columns = torch.arange(height) * grid // height, torch.arange(width) * grid // width
    return cells[:, :, rows][:, :, :, columns]
