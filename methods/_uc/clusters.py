"""K-means on features with exactly repeatable results."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from ue_bench.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of images with similar features.

    Attributes:
        members: int64 [N], 0..K-1: the cluster of each image.
        centres: float32 [K, D]; every cluster has at least one image.
        iterations: how many the best start took.
    """

    members: Tensor
    centres: Tensor
    iterations: int

    def __len__(self) -> int:
        return len(self.centres)


def kmeans(features: Tensor, count: int, starts: int, seed: int) -> Clusters:
    """scikit-learn's K-means (Lloyd, k-means++), on one thread so that the order of sums is fixed.

    Args:
        features: float [N, D].
        count: clusters wanted; the result has fewer if there are fewer distinct rows.
        starts: seeded starts, of which the best is kept (``n_init``).
        seed: below 2**32.

    Raises:
        ConfigError: for fewer rows than clusters, or if all rows are alike.
    """
    if len(features) < count:
        raise ConfigError(
            f"{len(features)} images cannot make {count} clusters: set clusters= to {len(features)} or fewer"
        )
    points = features.detach().to("cpu", torch.float32).contiguous().numpy()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: see below
        found = KMeans(count, n_init=starts, random_state=seed, algorithm="lloyd").fit(points)
    used, members = torch.from_numpy(found.labels_).long().unique(return_inverse=True)
    if len(used) < min(2, count):
        raise ConfigError("all images look alike to the surrogate, so there is only one cluster")
    return Clusters(members, torch.from_numpy(found.cluster_centers_).float()[used], int(found.n_iter_))


def nearest(features: Tensor, centres: Tensor) -> Tensor:
    """int64 [N]: the centre [K, D] closest to each row of ``features`` [N, D]."""
    return torch.cdist(features, centres).argmin(dim=1)
