"""Budgets, rounding and the promises of noise, against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from ue_bench import Budget, Perturbation
from ue_bench.contracts.budget import steps
from ue_bench.contracts.perturbation import quantise, sizes
from ue_bench.errors import ConfigError, PerturbationError


def noise(*values: float) -> torch.Tensor:
    """float [1, 3, 2, 2]: the values, in steps, then zeros."""
    flat = torch.zeros(12)
    flat[: len(values)] = torch.tensor(values)
    return flat.reshape(1, 3, 2, 2) / 255


def perturbation(whole: torch.Tensor, budget: Budget, rows: torch.Tensor | None = None) -> Perturbation:
    return Perturbation(whole, torch.zeros(3, dtype=torch.int64) if rows is None else rows, budget)


@pytest.mark.parametrize(
    ("text", "norm", "radius", "printed"),
    [
        ("linf:8", "linf", 8, "Linf 8/255"),
        ("linf:8/255", "linf", 8, "Linf 8/255"),
        ("l2:1.0", "l2", 1.0, "L2 1"),
        ("l0:1", "l0", 1, "L0 1 px"),
        ("none", "none", float("inf"), "unbounded"),
        ("linf:0", "linf", 0, "none (no noise)"),
    ],
)
def test_budget_reads_and_prints(text, norm, radius, printed):
    budget = Budget.parse(text)
    assert (budget.norm, budget.radius, str(budget)) == (norm, radius, printed)


@pytest.mark.parametrize("text", ["linf", "8", "linf:0.03", "l9:1", "linf:300", "linf:-1", "l0:0.5", ""])
def test_bad_budgets_are_named(text):
    with pytest.raises(ConfigError):
        Budget.parse(text)


@pytest.mark.parametrize(("epsilon", "wanted"), [(8, 8), (8 / 255, 8), (1, 1), (0, 0), (16 / 255, 16)])
def test_epsilon_8_and_8_255_are_the_same(epsilon, wanted):
    assert steps(epsilon) == wanted


@pytest.mark.parametrize(
    ("epsilon", "problem"),
    [(0.03, "whole number of steps"), (8.5, "whole number of steps"), (300, "0 to 255"), (-1, "0 to 255")],
)
def test_epsilon_must_be_whole_steps(epsilon, problem):
    with pytest.raises(ConfigError, match=problem):
        steps(epsilon)


def test_rounds_to_nearest_never_floors():
    whole = quantise(noise(0.8, -0.8, 7.9999995, -7.6, 0.4, -0.4), Budget("linf", 8))
    assert whole.flatten()[:6].tolist() == [1, -1, 8, -8, 0, 0]
    assert whole.dtype == torch.int8


def test_floor_is_an_option_with_its_known_bias():
    whole = quantise(noise(0.8, -0.8, 7.9, -7.6), Budget("linf", 8), floor=True)
    assert whole.flatten()[:4].tolist() == [0, -1, 7, -8]


def test_linf_noise_is_clamped_to_its_budget():
    assert quantise(noise(9.2, -20), Budget("linf", 8)).flatten()[:2].tolist() == [8, -8]


def test_rounding_never_lifts_l2_over_the_radius():
    delta = torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    delta *= (1 / delta.flatten(1).norm(dim=1))[:, None, None, None]
    whole = quantise(delta, Budget("l2", 1.0))
    measured = sizes(whole, "l2")
    assert float(measured.max()) <= 1.0
    assert float(measured.min()) > 0.995


def test_large_values_take_int16():
    whole = quantise(noise(200, -3), Budget("none"))
    assert whole.dtype == torch.int16 and whole.flatten()[:2].tolist() == [200, -3]


def test_not_finite_is_named_by_index():
    delta = noise(1, -1).repeat(3, 1, 1, 1)
    delta[2, 0, 0, 0] = torch.nan
    with pytest.raises(PerturbationError, match="noise 2 is not finite"):
        quantise(delta, Budget("linf", 8))


@pytest.mark.parametrize(
    ("values", "budget", "message"),
    [
        ((9, -9), Budget("linf", 8), "over its budget"),
        ((200, -200), Budget("l2", 1.0), "measures 1.109 in l2"),
        ((1, -1), Budget("l0", 1), "over its budget"),
        ((5, 3), Budget("linf", 8), "one sign only"),
        ((5, -3), Budget("linf", 8, "positive"), "both signs"),
        ((0, 0), Budget("linf", 8), "constant"),
        ((1, -1), Budget("linf", 0), "allows no noise"),
    ],
)
def test_broken_promises_are_caught(values, budget, message):
    whole = (noise(*values) * 255).round().to(torch.int16)
    with pytest.raises(PerturbationError, match=message):
        perturbation(whole, budget).check(3, (2, 2))


@pytest.mark.parametrize("budget", [Budget("l0", 4), Budget("none")])
def test_pixels_that_are_set_and_pictures_that_are_rewritten_may_all_become_brighter(budget):
    whole = (noise(255, 3) * 255).round().to(torch.int16)
    perturbation(whole, budget).check(3, (2, 2))


def test_shapes_dtypes_and_rows_are_checked():
    whole, budget = (noise(3, -3) * 255).round().to(torch.int8), Budget("linf", 8)
    perturbation(whole, budget).check(3, (2, 2))
    for broken, message in [
        (perturbation(whole.float(), budget), "int8 or int16"),
        (perturbation(whole, budget, torch.zeros(2, dtype=torch.int64)), r"rows must be int64 \[3\]"),
        (perturbation(whole, budget, torch.tensor([0, 1, 0])), "rows point to noise 1"),
        (perturbation(whole[:, :, :1], budget), r"noise must be \[R, 3, 2, 2\]"),
    ]:
        with pytest.raises(PerturbationError, match=message):
            broken.check(3, (2, 2))


def test_one_constant_row_among_many_is_found():
    """Trap T2: one broken process left a whole class black, unnoticed for two years."""
    whole = torch.randint(-8, 9, (10, 3, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.int8)
    whole[9] = -8
    with pytest.raises(PerturbationError, match="noise 9 is constant"):
        Perturbation(whole, torch.arange(10), Budget("linf", 8)).check(10, (4, 4))
