"""Percentiles, intervals and verdicts of latencies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.measure import statistics
from edgekit.measure.statistics import Interval

TIMES = st.floats(1e-3, 1e3)


def noisy(rng: np.random.Generator, rounds: int, *, spread: float, center: float = 1.0) -> list[float]:
    return list(center * np.exp(rng.normal(0, spread, rounds)))


@given(st.lists(TIMES, min_size=1, max_size=50))
def test_percentiles_are_ordered_and_inside(samples: list[float]) -> None:
    levels = [statistics.percentile(samples, level) for level in (0, 50, 90, 95, 99, 100)]
    assert levels == sorted(levels)
    assert levels[0] == min(samples)
    assert levels[-1] == max(samples)


@given(st.lists(TIMES, min_size=2, max_size=20), st.integers(0, 9))
def test_the_interval_holds_its_own_estimate(rounds: list[float], seed: int) -> None:
    found = statistics.median_interval(rounds, seed=seed)
    assert found.low <= found.value <= found.high
    assert min(rounds) <= found.low
    assert found.high <= max(rounds)
    assert found == statistics.median_interval(rounds, seed=seed)


@given(st.lists(TIMES, min_size=1, max_size=10).map(lambda half: half * 2), st.floats(0.01, 100))
def test_a_constant_factor_is_found_exactly(baseline: list[float], factor: float) -> None:
    candidate = [factor * value for value in baseline]
    found = statistics.ratio_interval(candidate, baseline, seed=0)
    assert found.value == pytest.approx(factor, rel=1e-9)
    if len(baseline) > 2:
        assert found.high == pytest.approx(factor, rel=1e-9)


@given(st.lists(TIMES, min_size=6, max_size=6), st.lists(TIMES, min_size=6, max_size=6))
def test_swapping_the_sides_inverts_the_ratio(one: list[float], two: list[float]) -> None:
    there = statistics.ratio_interval(one, two, seed=1).value
    back = statistics.ratio_interval(two, one, seed=1).value
    assert there * back == pytest.approx(1, rel=1e-9)


def test_one_block_has_no_bounds() -> None:
    found = statistics.ratio_interval([1, 2], [1, 2], seed=0)
    assert (found.value, found.low, found.high) == (1, 0, math.inf)


@pytest.mark.parametrize(
    ("one", "two"),
    [([1.0], [1.0]), ([], []), ([1, 1], [1, 1, 1, 1]), ([0, 1], [1, 1])],
    ids=["odd", "empty", "unequal", "zero"],
)
def test_rounds_that_do_not_pair_are_an_error(one: list[float], two: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rounds|no ratio"):
        statistics.ratio_interval(one, two, seed=0)


@pytest.mark.parametrize("rounds", [10, 20], ids=["fewest", "default"])
def test_the_interval_misses_the_truth_about_as_often_as_it_says(rounds: int) -> None:
    """400 trials of 10 % noise: 5 % misses are promised; 8.5 % is three standard errors above that."""
    rng, misses = np.random.default_rng(7), 0
    for trial in range(400):
        one, two = (noisy(rng, rounds, spread=0.1) for _ in range(2))
        found = statistics.ratio_interval(one, two, seed=trial)
        misses += not found.low <= 1 <= found.high
    assert misses / 400 <= 0.085


def teststudent_quantiles_have_three_digits() -> None:
    """Tables of Student's t at 97.5 %: 2.776 for 4 degrees of freedom, 2.262 for 9, 2.093 for 19."""
    found = [statistics.student_quantile(0.975, degrees) for degrees in (4, 9, 19)]
    assert found == pytest.approx([2.776, 2.262, 2.093], abs=0.01)


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        (Interval(0.9, 0.8, 1.0), "yes"),
        (Interval(1.0, 0.97, 1.05), "yes"),
        (Interval(1.0, 0.97, 1.06), "undecided"),
        (Interval(1.2, 1.04, 1.3), "undecided"),
        (Interval(1.2, 1.06, 1.3), "no"),
    ],
)
def test_the_bounds_decide_not_the_estimate(interval: Interval, answer: str) -> None:
    assert statistics.not_slower(interval, limit=1.05) == answer


@pytest.mark.parametrize(
    ("medians", "answer"),
    [
        ([], False),
        ([1, 1], False),
        ([9, 5, 3], False),
        ([9, 5, 3, 2, 2, 2], True),
        ([2, 2, 2.2], False),
        ([2, 2.05, 2.1], True),
    ],
)
def test_settled_means_three_medians_within_five_percent(medians: list[float], answer: bool) -> None:
    assert statistics.settled(medians) is answer


@pytest.mark.parametrize(
    ("rounds", "says"),
    [
        ([1.0, 1.02, 0.99, 1.01], ""),
        ([1.0, 1.3, 0.8, 1.2], "standard deviation"),
        ([1.0] * 30 + [1.6], "one round is 57% off"),
        ([1e-3] * 4, "too short for the clock"),
    ],
    ids=["calm", "spread", "one extreme", "too short"],
)
def test_instability_is_named(rounds: list[float], says: str) -> None:
    found = statistics.instability(rounds)
    assert (found == "") is (says == "")
    assert says in found
