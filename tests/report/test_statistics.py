"""Means, spreads and intervals, worked by hand."""

from __future__ import annotations

import math

import pytest

from ue_bench.report.statistics import interval, paired, summarise


def test_mean_and_sample_standard_deviation():
    summary = summarise([10.0, 12.0, 14.0])  # deviations -2, 0, 2: sum of squares 8, over n - 1 = 2
    assert (summary.mean, summary.std, summary.n) == (12.0, 2.0, 3)


def test_one_value_has_no_spread():
    summary = summarise([12.31])
    assert (summary.mean, summary.std, summary.n) == (12.31, None, 1)
    assert interval(summary) is None


def test_no_values_have_no_mean():
    assert summarise([]) is None


def test_student_t_interval_of_three_values():
    # mean 2, std 1, t with 2 degrees of freedom at 97.5 % is 4.30265: half width 4.30265 / sqrt(3) = 2.48414
    low, high = interval(summarise([1.0, 2.0, 3.0]))
    assert low == pytest.approx(2 - 2.48414, abs=1e-4)
    assert high == pytest.approx(2 + 2.48414, abs=1e-4)


def test_differences_are_paired_by_seed():
    # seed 0: 10 - 90 = -80; seed 2: 14 - 92 = -78; seeds 1 and 3 have no partner
    difference = paired({0: 10.0, 1: 99.0, 2: 14.0}, {2: 92.0, 0: 90.0, 3: 1.0})
    assert (difference.mean, difference.n) == (-79.0, 2)
    assert difference.std == pytest.approx(math.sqrt(2))
    # t with 1 degree of freedom is 12.7062; half width 12.7062 * sqrt(2) / sqrt(2)
    assert difference.interval == pytest.approx((-79 - 12.7062, -79 + 12.7062), abs=1e-3)


def test_one_pair_has_no_interval_and_no_pair_no_difference():
    assert paired({0: 1.0}, {0: 3.0}).interval is None
    assert paired({0: 1.0}, {1: 3.0}) is None
