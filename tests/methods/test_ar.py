"""AR: its recurrence, filters, search and noise against a plain sequential scan and the paper's numbers."""

from __future__ import annotations

import pytest
import torch

from ue_bench import Access, Budget, ImageSet, ProtectorView
from ue_bench.contracts.perturbation import sizes
from ue_bench.errors import AccessError, ConfigError, PerturbationError
from ue_bench_methods import ar
from ue_bench_methods.ar import AR


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sequential(start: torch.Tensor, process: torch.Tensor) -> torch.Tensor:
    """The recurrence as the paper writes it, pixel by pixel: start [3, H, W], process [3, 3, 3]."""
    x = start.clone()
    for i in range(2, x.shape[1]):
        for j in range(2, x.shape[2]):
            for channel in range(3):
                x[channel, i, j] = 0
                x[channel, i, j] = (process[channel] * x[channel, i - 2 : i + 1, j - 2 : j + 1]).sum()
    return x


def protect(method: AR, images: ImageSet, context):
    return method.protect(ProtectorView(images, AR.access, "supervised", "ar"), context)


@pytest.fixture(scope="module")
def ten() -> torch.Tensor:
    return ar.search(10, rng(3))[0]


def noise_of(processes: torch.Tensor, each: int, seed: int = 1) -> torch.Tensor:
    """float64 [P * each, 3, 32, 32], L2 1.0, class after class."""
    generator = rng(seed)
    parts = [ar.generate(process, each, (32, 32), 4, generator) for process in processes]
    return ar.scale(torch.cat(parts), Budget("l2", 1.0))


def test_a_pixel_is_the_weighted_sum_of_its_eight_neighbours():
    process = torch.arange(9.0, dtype=torch.float64).reshape(3, 3).repeat(3, 1, 1)
    process[:, 2, 2] = 0
    start = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 99, 99]], dtype=torch.float64).repeat(3, 1, 1)
    # 0*1 + 1*2 + 2*3 + 3*5 + 4*6 + 5*7 + 6*1 + 7*1 = 95, then one to the right with 95 as left neighbour.
    scanned = ar.scan(start[None, None], process[None])[0, 0]
    assert scanned[:, 2, 2].tolist() == [95.0] * 3
    assert scanned[:, 2, 3].tolist() == [0 * 2 + 1 * 3 + 2 * 4 + 3 * 6 + 4 * 7 + 5 * 8 + 6 * 1 + 7 * 95.0] * 3
    assert torch.equal(scanned[:, :2], start[:, :2])


@pytest.mark.parametrize("size", [(36, 36), (12, 20), (20, 3)])
def test_the_row_scan_equals_the_sequential_one(size, ten):
    starts = torch.randn((2, 3, 3, *size), generator=rng(5), dtype=torch.float64)
    scanned = ar.scan(starts, ten[:2])
    for group in range(2):
        for image in range(3):
            expected = sequential(starts[group, image], ten[group])
            torch.testing.assert_close(scanned[group, image], expected, rtol=0, atol=1e-6)
    assert starts[..., 2:, 2:].std() > 0.8, "the scan must leave its input alone"


def test_the_row_scan_equals_the_sequential_one_in_float32(ten):
    start = torch.randn((1, 2, 3, 36, 36), generator=rng(5))
    expected = sequential(start[0, 1], ten[4].float())
    scanned = ar.scan(start, ten[4:5].float())[0, 1]
    torch.testing.assert_close(scanned, expected, rtol=1e-5, atol=1e-5)


def test_coefficients_sum_to_one_and_skip_the_pixel_itself(ten):
    assert ten.shape == (10, 3, 3, 3)
    assert (ten.sum(dim=(2, 3)) - 1).abs().max() <= 1e-6
    assert not ten[..., 2, 2].any()
    assert len({tuple(process.flatten().tolist()) for process in ten}) == 10


def test_matching_filters_answer_zero_and_sum_to_zero(ten):
    noise, filters = noise_of(ten, 2), ar.matching_filters(ten)
    assert filters.sum(dim=(2, 3)).abs().max() < 1e-6
    for image, own in enumerate(filters.repeat_interleave(2, dim=0)):
        answer = torch.nn.functional.conv2d(noise[image][None], own[:, None], groups=3)
        assert answer.shape == (1, 3, 30, 30)
        assert answer.abs().max() <= 1e-6


def test_the_response_tells_every_class_from_fresh_noise(ten):
    noise, labels = noise_of(ten, 20), torch.arange(10).repeat_interleave(20)
    answers = ar.response(noise, ar.matching_filters(ten))
    own = torch.zeros_like(answers, dtype=torch.bool)
    own[torch.arange(200), labels] = True
    assert answers[own].max() < 1e-5
    assert answers[~own].median() > 5
    assert answers[~own].min() > 0.3
    assert torch.equal(answers.argmin(dim=1), labels)


def test_noise_has_norm_one_and_differs_between_images_of_a_class(ten):
    noise = noise_of(ten[:1], 8)
    assert noise.shape == (8, 3, 32, 32)
    torch.testing.assert_close(
        noise.flatten(1).norm(dim=1), torch.ones(8, dtype=torch.float64), rtol=0, atol=2e-6
    )
    correlations = noise.flatten(1) @ noise.flatten(1).T - torch.eye(8, dtype=torch.float64)
    assert correlations.abs().max() < 0.9


def test_an_linf_budget_scales_the_largest_value(ten):
    noise = ar.scale(ar.generate(ten[0], 4, (32, 32), 4, rng()), Budget("linf", 8))
    torch.testing.assert_close(noise.flatten(1).abs().amax(1), torch.full((4,), 8 / 255, dtype=torch.float64))


def test_the_margin_is_dropped_at_the_top_left(ten):
    start = ar.draw_start(2, 36, 36, rng(9))
    whole = ar.scan(start[None], ten[:1])[0]
    assert torch.equal(ar.generate(ten[0], 2, (32, 32), 4, rng(9)), whole[:, :, 4:, 4:])


def test_accepted_processes_hold_and_their_noise_passes_earlier_filters():
    processes, tried = ar.search(6, rng(11), threshold=10)
    assert tried >= 6
    noise = noise_of(processes, 20, seed=2)
    answers = ar.response(noise, ar.matching_filters(processes)).unflatten(0, (6, 20)).mean(dim=1)
    later, earlier = torch.tril_indices(6, 6, offset=-1)
    assert answers[later, earlier].min() > 5, "ten on the search's own pattern, so well above five on average"
    norms = [
        ar.generate(process, 20, (32, 32), 4, rng(1)).flatten(1).norm(dim=1).median() for process in processes
    ]
    assert max(norms) < 100


@pytest.mark.parametrize("threshold", [3.0, 10.0])
def test_the_search_accepts_whom_all_earlier_filters_answer_with_the_threshold_at_least(threshold):
    """The greedy rule, candidate by candidate; of the same candidates, the lower threshold accepts others."""
    generator, accepted, answers = rng(11), [], []
    while len(accepted) < 5:
        candidates = ar.draw_processes(ar.CANDIDATES, generator)
        calm = ar.holding(candidates).nonzero().flatten()
        for _ in range(3):
            left, patterns = ar.trial(candidates[calm], 50.0, generator)
            calm = calm[left]
        assert (patterns.flatten(1).norm(dim=1) <= 50).all()
        for place, pattern in zip(calm.tolist(), patterns, strict=True):
            probe = pattern / pattern.norm()
            filters = [ar.matching_filters(process[None]) for process in accepted]
            found = [float(torch.nn.functional.conv2d(probe[None], f).relu().sum()) for f in filters]
            answers += found
            if len(accepted) < 5 and all(answer >= threshold for answer in found):
                accepted.append(candidates[place])
    processes, _ = ar.search(5, rng(11), threshold=threshold)
    assert torch.equal(processes, torch.stack(accepted))
    assert min(answers) < threshold < max(answers), "the threshold decides"


@pytest.mark.parametrize(("classes", "threshold"), [(2, 10.0), (10, 10.0), (100, 3.0)])
def test_thresholds_and_limits_are_the_authors(make_images, make_context, monkeypatch, classes, threshold):
    asked = []

    def search(*settings):
        asked.append((settings[0], *settings[2:]))
        raise KeyboardInterrupt

    monkeypatch.setattr(ar, "search", search)
    with pytest.raises(KeyboardInterrupt):
        protect(AR(), make_images(classes, classes), make_context())
    assert asked == [(classes, threshold, 50.0, 1_000_000, 32)]


def test_the_early_stop_rejects_exactly_what_the_whole_pattern_would():
    candidates = ar.draw_processes(400, rng(4))
    left, patterns = ar.trial(candidates, 50.0, rng(6))
    loose, whole = ar.trial(candidates, 1e100, rng(6))
    assert 0 < len(left) < 100
    assert patterns.shape == (len(left), 3, 32, 32)
    assert (patterns.flatten(1).norm(dim=1) <= 50).all()
    assert len(loose) > len(left)
    filters = ar.matching_filters(candidates[loose[0]])
    answer = torch.nn.functional.conv2d(whole[:1], filters[:, None], groups=3)
    assert answer.abs().max() < 1e-9 * whole[0].abs().max()


def test_holding_keeps_what_does_not_diverge():
    candidates = ar.draw_processes(4000, rng(8))
    left, _ = ar.trial(candidates, 50.0, rng(8))
    holding = ar.holding(candidates)
    assert 0.1 < holding.double().mean() < 0.3
    assert holding[left].all()
    # x[j] = 1.2 x[j-1] grows along a row; x[j] = 1.2 x[j-1] - 0.3 x[j-2] does not.
    process = torch.zeros((2, 3, 3, 3), dtype=torch.float64)
    process[:, :, 2, 1] = 1.2
    process[1, :, 2, 0] = -0.3
    assert ar.holding(process).tolist() == [False, True]


def test_the_search_reports_its_cap_and_counts_candidates():
    with pytest.raises(PerturbationError, match=r"of 10 in 3000 candidates, its cap: lower ar\.threshold"):
        ar.search(10, rng(), threshold=10, max_candidates=3000)
    processes, tried = ar.search(2, rng(1))
    again, _ = ar.search(2, rng(1), max_candidates=tried + 20000)
    assert torch.equal(processes, again)


def test_a_diverging_process_is_an_error_and_never_nan():
    process = ar.draw_processes(1, rng())[0] * 1e200
    with pytest.raises(PerturbationError, match="diverged at 32x32"):
        ar.generate(process, 1, (32, 32), 4, rng())


def test_protect_keeps_every_promise_and_reads_labels_only(make_images, make_context):
    images, context = make_images(24, 4), make_context(5)
    perturbation = protect(AR(), images, context)
    perturbation.check(24, (32, 32))
    assert perturbation.noise.dtype == torch.int8
    assert torch.equal(perturbation.rows, torch.arange(24))
    assert perturbation.budget == Budget("l2", 1.0)
    assert sizes(perturbation.noise, "l2").min() > 0.99
    assert context.notes["candidates"] >= 4
    assert not context.ledger.warnings
    view = ProtectorView(images, AR.access, "supervised", "ar")
    with pytest.raises(AccessError):
        _ = view.images
    assert AR.access == Access.LABELS
    unlabelled = ImageSet(images.images, None, images.captions)
    with pytest.raises(AccessError, match="labels"):
        protect(AR(), unlabelled, make_context())


def test_the_same_seed_gives_the_same_noise_whatever_the_pictures(make_images, make_context):
    first = protect(AR(), make_images(12, 3), make_context(1)).noise
    assert torch.equal(first, protect(AR(), make_images(12, 3, seed=9), make_context(1)).noise)
    assert not torch.equal(first, protect(AR(), make_images(12, 3), make_context(2)).noise)
    assert len(first.unique(dim=0)) == 12


def test_noise_follows_the_labels_when_the_dataset_is_permuted(make_images, make_context):
    images = make_images(40, 4)
    order = torch.randperm(40, generator=rng())
    permuted = ImageSet(images.images[order], images.labels[order], None, images.class_names)
    before, after = (protect(AR(), data, make_context(3)).noise for data in (images, permuted))
    for label in range(4):
        assert torch.equal(before[images.labels == label], after[permuted.labels == label])
    assert not torch.equal(before, after)


def test_unequal_and_empty_classes(make_images, make_context):
    images = make_images(30, 5)
    labels = torch.tensor([0] * 20 + [1] * 1 + [3] * 2 + [4] * 7)
    perturbation = protect(AR(), ImageSet(images.images, labels, None, images.class_names), make_context())
    perturbation.check(30, (32, 32))


def test_rounded_noise_of_a_hundred_classes_still_names_its_class(make_images, make_context):
    perturbation = protect(AR(), make_images(200, 100), make_context(2))
    perturbation.check(200, (32, 32))
    processes, _ = ar.search(100, make_context(2).generator, threshold=3)
    answers = ar.response(perturbation.noise.double() / 255, ar.matching_filters(processes))
    assert (answers.argmin(dim=1) == torch.arange(200) % 100).double().mean() > 0.9


def test_small_chunks_change_neither_shape_nor_norm(make_images, make_context, monkeypatch):
    monkeypatch.setattr(ar, "VALUES", 3 * 36 * 36 * 2)
    protect(AR(), make_images(30, 3), make_context()).check(30, (32, 32))


@pytest.mark.parametrize(
    ("method", "size", "radius", "warned"),
    [
        (AR(), 64, 1.0, True),
        (AR(scale_budget=True), 96, 3.0, False),
        (AR(budget=Budget("l2", 3.0)), 96, 3.0, False),
        (AR(budget=Budget("linf", 8), scale_budget=True), 64, 8, False),
    ],
)
def test_larger_images_and_their_budget(method, size, radius, warned, make_images, make_context):
    context = make_context()
    perturbation = protect(method, make_images(6, 3, size), context)
    perturbation.check(6, (size, size))
    assert perturbation.budget.radius == pytest.approx(radius)
    measured = sizes(perturbation.noise, perturbation.budget.norm)
    assert measured.min() > 0.98 * radius
    assert bool(context.ledger.warnings) == warned


def test_images_of_224_pixels_have_a_margin_of_two(make_images, make_context):
    images = make_images(2, 2, 224)
    default = protect(AR(scale_budget=True), images, make_context(1)).noise
    assert torch.equal(default, protect(AR(scale_budget=True, margin=2), images, make_context(1)).noise)
    assert not torch.equal(default, protect(AR(scale_budget=True, margin=4), images, make_context(1)).noise)


def test_a_search_on_larger_patterns_keeps_processes_level():
    processes, _ = ar.search(2, rng(2), threshold=3, side=64)
    norms = [
        ar.generate(process, 8, (64, 64), 4, rng()).flatten(1).norm(dim=1).median() for process in processes
    ]
    assert max(norms) < 120


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="no noise of granularity 'class'"):
        AR(granularity="class")
    for wrong in (Budget("none"), Budget("l0", 5), Budget("l2", 1.0, "positive")):
        with pytest.raises(ConfigError, match="l2 or linf budget"):
            AR(budget=wrong)
    with pytest.raises(ConfigError, match="margin"):
        AR(margin=-1)
    with pytest.raises(ConfigError, match="search_side"):
        AR(search_side=2)


def test_an_empty_budget_is_refused():
    with pytest.raises(ConfigError, match="above 0"):
        AR(budget=Budget("l2", 0))
