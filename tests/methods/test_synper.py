"""SynPer: scikit-learn's clusters, their way to flat patches, and the norm, against hand-worked cases."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import make_classification

from ue_bench import Access, Budget, ImageSet, ProtectorView
from ue_bench.contracts.perturbation import sizes
from ue_bench.errors import AccessError, ConfigError
from ue_bench_methods import synper
from ue_bench_methods.synper import SynPer

RADIUS = math.sqrt(3 * 32 * 32) * 6 / 255


def protect(method: SynPer, images: ImageSet, context):
    return method.protect(ProtectorView(images, SynPer.access, "supervised", "synper"), context)


def cell_values(noise: torch.Tensor, patch: int = 8) -> torch.Tensor:
    """float64 [n, 48]: one pixel of each cell."""
    return noise[:, :, patch // 2 :: patch, patch // 2 :: patch].flatten(1).double()


def test_a_sample_becomes_flat_patches_by_row_column_and_colour():
    # A 2x2 grid on 4x2 pixels; value = 100 * row + 10 * column + colour.
    point = torch.tensor([[0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112]], dtype=torch.float32)
    expected = torch.tensor(
        [
            [[0, 10], [0, 10], [100, 110], [100, 110]],
            [[1, 11], [1, 11], [101, 111], [101, 111]],
            [[2, 12], [2, 12], [102, 112], [102, 112]],
        ],
        dtype=torch.float32,
    )
    assert torch.equal(synper.patches(point, 2, (4, 2))[0], expected)


def test_scaling_is_exact_in_a_hand_worked_case():
    # Twelve values of 3 and twelve of 4 have the norm sqrt(12 * 9 + 12 * 16) = sqrt(300).
    noise = torch.cat([torch.full((1, 3, 2, 2), 3.0), torch.full((1, 3, 2, 2), -4.0)], dim=3)
    scaled = synper.scale(noise, Budget("l2", 2.0))
    factor = 2 / math.sqrt(300)
    expected = torch.tensor([3 * factor, -4 * factor])
    torch.testing.assert_close(scaled[0, 0, 0, [0, 2]], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(scaled.norm(), torch.tensor(2.0), rtol=0, atol=1e-6)
    assert synper.scale(noise, Budget("linf", 8)).min() == pytest.approx(-8 / 255)


def test_equal_classes_get_scikit_learns_samples_in_its_order():
    points, labels = make_classification(
        60,
        48,
        n_informative=48,
        n_redundant=0,
        n_repeated=0,
        n_classes=3,
        n_clusters_per_class=1,
        class_sep=10,
        flip_y=0,
        random_state=7,
    )
    expected = torch.cat([torch.from_numpy(points[labels == label]) for label in range(3)]).float()
    assert torch.equal(synper.clusters([20, 20, 20], 48, 7), expected)


def test_clusters_sit_on_distinct_corners_ten_from_the_origin():
    points = synper.clusters([500] * 10, 48, 1).unflatten(0, (10, 500)).double()
    centres = points.mean(dim=1)
    assert (centres.abs() - 10).abs().max() < 1
    assert len(centres.sign().unique(dim=0)) == 10
    # Standard normal values times a matrix of U(-1, 1): a variance of 48 / 3.
    assert points.std(dim=1).square().mean() == pytest.approx(16, rel=0.05)


@pytest.mark.parametrize("counts", [[30, 1, 2, 7], [0, 5, 5], [1, 0, 0, 1], [1], [3000, 1]])
def test_unequal_classes_get_as_many_samples_as_they_need(counts):
    points = synper.clusters(counts, 48, 3)
    assert points.shape == (sum(counts), 48)
    assert len(points.unique(dim=0)) == sum(counts)
    means = [part.mean(dim=0) for part in points.split(counts) if len(part)]
    signs = torch.stack(means)
    assert torch.stack([part.sign() for part in signs]).unique(dim=0).shape[0] == len(means)


@pytest.mark.parametrize("classes", [10, 100])
def test_noise_is_linearly_separable(classes):
    each = 100 if classes == 10 else 20
    points = synper.clusters([each] * classes, 48, 2)
    noise = synper.scale(synper.patches(points, 4, (32, 32)), Budget("l2", RADIUS))
    values, labels = cell_values(noise), torch.arange(classes).repeat_interleave(each)
    fit = torch.arange(len(values)) % 2 == 0
    targets = torch.nn.functional.one_hot(labels, classes).double()
    design = torch.cat([values * 255, torch.ones(len(values), 1, dtype=torch.float64)], dim=1)
    weights = torch.linalg.lstsq(design[fit], targets[fit]).solution
    assert torch.equal((design[~fit] @ weights).argmax(dim=1), labels[~fit])
    means = torch.stack([values[fit & (labels == label)].mean(dim=0) for label in range(classes)])
    assert torch.equal((values[~fit] @ means.T).argmax(dim=1), labels[~fit])


def test_float_noise_has_the_papers_norm_and_flat_cells():
    points = synper.clusters([20] * 5, 48, 4)
    noise = synper.scale(synper.patches(points, 4, (32, 32)), Budget("l2", RADIUS))
    norms = noise.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((100,), 1.3041324), rtol=0, atol=1e-5)
    peaks = noise.flatten(1).abs().amax(dim=1) * 255
    assert peaks.min() > 7 and peaks.max() < 20 and 9 < peaks.mean() < 12
    cells = noise.unflatten(2, (4, 8)).unflatten(4, (4, 8))
    assert torch.equal(cells.amax(dim=(3, 5)), cells.amin(dim=(3, 5)))
    assert len(noise.unique(dim=0)) == 100


def test_protect_keeps_every_promise_and_reads_labels_only(make_images, make_context):
    images = make_images(40, 4)
    perturbation = protect(SynPer(), images, make_context(5))
    perturbation.check(40, (32, 32))
    assert perturbation.noise.dtype == torch.int8
    assert torch.equal(perturbation.rows, torch.arange(40))
    assert perturbation.budget == Budget("l2", RADIUS) == SynPer().budget
    assert sizes(perturbation.noise, "l2").min() > 0.98 * RADIUS
    assert SynPer.access == Access.LABELS
    with pytest.raises(AccessError):
        _ = ProtectorView(images, SynPer.access, "supervised", "synper").images
    with pytest.raises(AccessError, match="labels"):
        protect(SynPer(), ImageSet(images.images, None, images.captions), make_context())


def test_the_kth_image_of_a_class_gets_its_kth_sample(make_images, make_context):
    images, context = make_images(40, 4), make_context(6)
    noise = protect(SynPer(), images, context).noise
    points = synper.clusters([10] * 4, 48, make_context(6).numpy_seed()).unflatten(0, (4, 10))
    for label in range(4):
        mine = cell_values(noise[images.labels == label])
        drawn = points[label].unflatten(1, (16, 3)).transpose(1, 2).flatten(1).double()
        cosines = torch.nn.functional.cosine_similarity(mine, drawn)
        assert cosines.min() > 0.99


def test_the_same_seed_gives_the_same_noise_whatever_the_pictures(make_images, make_context):
    first = protect(SynPer(), make_images(12, 3), make_context(1)).noise
    assert torch.equal(first, protect(SynPer(), make_images(12, 3, seed=9), make_context(1)).noise)
    assert not torch.equal(first, protect(SynPer(), make_images(12, 3), make_context(2)).noise)


def test_noise_follows_the_labels_when_the_dataset_is_permuted(make_images, make_context):
    images = make_images(40, 4)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    permuted = ImageSet(images.images[order], images.labels[order], None, images.class_names)
    before, after = (protect(SynPer(), data, make_context(3)).noise for data in (images, permuted))
    for label in range(4):
        assert torch.equal(before[images.labels == label], after[permuted.labels == label])
    assert not torch.equal(before, after)


def test_unequal_empty_and_a_hundred_classes(make_images, make_context):
    images = make_images(30, 5)
    labels = torch.tensor([0] * 20 + [1] + [3] * 2 + [4] * 7)
    perturbation = protect(
        SynPer(), ImageSet(images.images, labels, None, images.class_names), make_context()
    )
    perturbation.check(30, (32, 32))
    protect(SynPer(), make_images(150, 100), make_context()).check(150, (32, 32))


def test_chunks_change_nothing(make_images, make_context, monkeypatch):
    images = make_images(20, 3)
    whole = protect(SynPer(), images, make_context()).noise
    monkeypatch.setattr(synper, "VALUES", 3 * 32 * 32 * 7)
    assert torch.equal(protect(SynPer(), images, make_context()).noise, whole)


@pytest.mark.parametrize(
    ("method", "size", "radius"),
    [
        (SynPer(), 64, 2 * RADIUS),
        (SynPer(), 96, 3 * RADIUS),
        (SynPer(grid=7), 224, 7 * RADIUS),
        (SynPer(epsilon=3.0), 32, RADIUS / 2),
        (SynPer(budget=Budget("l2", 1.0)), 64, 1.0),
        (SynPer(budget=Budget("l2", 1.0), epsilon=9.0), 32, 1.0),
        (SynPer(grid=4), 30, RADIUS * 30 / 32),
    ],
)
def test_the_default_budget_follows_the_size_and_another_one_holds(
    method, size, radius, make_images, make_context
):
    perturbation = protect(method, make_images(6, 3, size), make_context())
    perturbation.check(6, (size, size))
    assert perturbation.budget.norm == "l2"
    assert perturbation.budget.radius == pytest.approx(radius)
    assert sizes(perturbation.noise, "l2").min() > 0.9 * radius
    distinct = [len(row.unique()) for row in perturbation.noise[0, 0]]
    assert max(distinct) <= method.grid


def test_linf_budget_and_clamp(make_images, make_context):
    images = make_images(30, 3)
    scaled = protect(SynPer(budget=Budget("linf", 8)), images, make_context())
    scaled.check(30, (32, 32))
    assert (sizes(scaled.noise, "linf") == 8).all()
    clamped, plain = (protect(method, images, make_context()) for method in (SynPer(linf_clamp=8), SynPer()))
    clamped.check(30, (32, 32))
    assert (sizes(plain.noise, "linf") > 8).any()
    assert sizes(clamped.noise, "linf").max() == 8
    assert (clamped.noise - plain.noise.clamp(-8, 8)).abs().max() <= 1


def test_official_floor_truncates_as_the_published_code(make_images, make_context):
    images = make_images(20, 4)
    perturbation = protect(SynPer(official_floor=True), images, make_context(8))
    perturbation.check(20, (32, 32))
    points = synper.clusters([5] * 4, 48, make_context(8).numpy_seed())
    delta = synper.scale(synper.patches(points, 4, (32, 32)), Budget("l2", RADIUS)).double()
    order = images.labels.argsort(stable=True)
    published = (images.images[order] / 255.0 + delta).mul(255).clamp(0, 255).to(torch.uint8)
    ours = (images.images[order].int() + perturbation.noise[order]).clamp(0, 255).to(torch.uint8)
    assert (published == ours).double().mean() > 0.9999
    rounded = protect(SynPer(), images, make_context(8)).noise
    assert -0.6 < float((perturbation.noise - rounded).double().mean()) < -0.3
    assert 1 < perturbation.budget.radius / RADIUS < 1.05


def test_what_does_not_fit_is_refused(make_images, make_context):
    with pytest.raises(ConfigError, match="no noise of granularity 'class'"):
        SynPer(granularity="class")
    for wrong in (Budget("none"), Budget("l0", 5), Budget("l2", 1.0, "positive")):
        with pytest.raises(ConfigError, match="l2 or linf budget"):
            SynPer(budget=wrong)
    with pytest.raises(ConfigError, match="official_floor"):
        SynPer(official_floor=True, budget=Budget("l2", 1.0))
    with pytest.raises(ConfigError, match="epsilon must be above 0"):
        SynPer(epsilon=0.0)
    with pytest.raises(ConfigError, match="linf_clamp"):
        SynPer(linf_clamp=300)
    with pytest.raises(ConfigError, match="more than the image"):
        protect(SynPer(grid=40), make_images(4, 2), make_context())
    with pytest.raises(ConfigError, match="have no 9 corners"):
        protect(SynPer(grid=1), make_images(18, 9), make_context())


def test_an_empty_budget_is_refused():
    with pytest.raises(ConfigError, match="above 0"):
        SynPer(budget=Budget("l2", 0))
