"""Neural tangent kernels of two infinitely wide networks, in closed form, differentiable by the images.

A layer's weights are drawn with the variance ``WEIGHTS / inputs`` and its biases with ``BIASES``. For a pair of images
``k`` is the covariance of a unit's values over these draws, and the tangent kernel ``t`` the inner product of their
gradients by all weights and biases up to that unit. An affine layer makes ``WEIGHTS * k + BIASES`` of k and
``k + WEIGHTS * t`` of t, with the new k; a nonlinearity takes k to the expected product of its values, and multiplies t
by the expected product of its slopes (Jacot et al., NeurIPS 2018; Lee et al., NeurIPS 2019).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

WEIGHTS, BIASES = 1.76, 0.18  # variances; NTGA's code
DEPTH = 5  # layers of the fully connected network; code
KERNEL, STRIDE = 5, 2  # pixels, of each convolution; code
CONVOLUTIONS, DENSE = 2, 3  # layers of the convolutional network; code
EDGE = 1e-14  # farthest that a correlation stays from 1, where the slope of a ReLU's kernel is infinite


def fnn(one: Tensor, other: Tensor, depth: int = DEPTH) -> Tensor:
    """Tangent kernel of ``depth`` times an affine layer and erf, without a layer behind the last erf.

    Args:
        one: float [N, 3, H, W].
        other: float [M, 3, H, W].

    Returns:
        float [N, M].
    """
    rows, columns = one.flatten(1), other.flatten(1)
    k, own, its = rows @ columns.T / rows.shape[1], rows.square().mean(1), columns.square().mean(1)
    tangent = torch.zeros_like(k)
    for _ in range(depth):
        k, own, its = _affine(k), _affine(own), _affine(its)
        tangent = k + WEIGHTS * tangent
        values, slopes = erf_products(k, own[:, None], its)
        k, own, its = values, _erf_own(own), _erf_own(its)
        tangent = tangent * slopes
    return tangent


def cnn(one: Tensor, other: Tensor) -> Tensor:
    """Tangent kernel of convolutions of stride 2 with ReLU, flattened, and affine layers without nonlinearity.

    Values are not averaged over places before they are flattened, so only equal places of two images meet. Arguments
    and result as of ``fnn``.
    """
    k = torch.einsum("nchw,mchw->nmhw", one, other) / one.shape[1]
    own, its = one.square().mean(1)[:, None], other.square().mean(1)[None]
    tangent = torch.zeros_like(k)
    for _ in range(CONVOLUTIONS):
        k, own, its = (_affine(_window_mean(each)) for each in (k, own, its))
        tangent = k + WEIGHTS * _window_mean(tangent)
        values, slopes = relu_products(k, own, its)
        k, own, its = values, own / 2, its / 2
        tangent = tangent * slopes
    k, tangent = k.mean((2, 3)), tangent.mean((2, 3))
    for _ in range(DENSE):
        k = _affine(k)
        tangent = k + WEIGHTS * tangent
    return tangent


def erf_products(k: Tensor, own: Tensor, its: Tensor) -> tuple[Tensor, Tensor]:
    """(E[erf(u) erf(v)], E[erf'(u) erf'(v)]) of u, v with variances ``own``, ``its`` and covariance ``k``."""
    spread = (1 + 2 * own) * (1 + 2 * its)
    return (2 / math.pi) * (2 * k / spread.sqrt()).asin(), (4 / math.pi) / (spread - 4 * k.square()).sqrt()


def relu_products(k: Tensor, own: Tensor, its: Tensor) -> tuple[Tensor, Tensor]:
    """(E[relu(u) relu(v)], E[relu'(u) relu'(v)]), as ``erf_products``."""
    scale = (own * its).sqrt()
    cosine = (k / scale).clamp(EDGE - 1, 1 - EDGE)
    slopes = (math.pi - cosine.acos()) / (2 * math.pi)
    return scale * ((1 - cosine.square()).sqrt() / (2 * math.pi) + cosine * slopes), slopes


def _erf_own(own: Tensor) -> Tensor:
    return (2 / math.pi) * (2 * own / (1 + 2 * own)).asin()


def _affine(k: Tensor) -> Tensor:
    return WEIGHTS * k + BIASES


def _window_mean(k: Tensor) -> Tensor:
    """[N, M, H, W] -> the mean over each window, black pixels around the image included (padding "SAME")."""
    sides = []
    for size in (k.shape[3], k.shape[2]):
        missing = max((math.ceil(size / STRIDE) - 1) * STRIDE + KERNEL - size, 0)
        sides += [missing // 2, missing - missing // 2]
    flat = functional.pad(k.flatten(0, 1)[:, None], sides)
    return functional.avg_pool2d(flat, KERNEL, STRIDE)[:, 0].unflatten(0, k.shape[:2])
