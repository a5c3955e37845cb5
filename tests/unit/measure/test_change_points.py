"""Where a series changed its level: found at its place, and nothing found in noise. H: change_points.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekit.measure import change_points
from edgekit.measure.change_points import Floats, changes

Draw = Callable[[np.random.Generator, int], Floats]
NOISES: dict[str, Draw] = {
    "normal, 2 %": lambda rng, n: np.exp(rng.normal(0, 0.02, n)),
    "normal, 10 %": lambda rng, n: np.exp(rng.normal(0, 0.10, n)),
    "heavy tails": lambda rng, n: np.exp(0.02 * rng.standard_t(2, n)),
    "one-sided": lambda rng, n: 1 + 0.05 * rng.exponential(1, n),
    "two levels at random": lambda rng, n: np.where(rng.random(n) < 0.3, 1.1, 1.0) + rng.normal(0, 0.01, n),
}


@pytest.mark.parametrize("draw", NOISES.values(), ids=NOISES)
def test_pure_noise_of_50_runs_is_no_change(draw: Draw) -> None:
    """At most 5 % of 100 seeded series raise an alarm; LEVEL says 1 % (H2)."""
    alarms = sum(bool(changes(5 * draw(np.random.default_rng(seed), 50), seed=seed)) for seed in range(100))
    assert alarms <= 5


@pytest.mark.parametrize("step", [1.08, 1 / 1.08], ids=["slower", "faster"])
@pytest.mark.parametrize(("noise", "exact"), [(0.01, 40), (0.02, 30)], ids=["1 %", "2 %"])
def test_a_step_of_8_percent_is_found_at_its_place(step: float, noise: float, exact: int) -> None:
    """Always found. A run beside the step may lie nearer to the other level: in noise of 2 % the best place
    of all is another one in some series, by three runs at most."""
    hits = 0
    for seed in range(40):
        values = 5 * np.exp(np.random.default_rng(seed).normal(0, noise, 50))
        values[30:] *= step
        found = changes(values, seed=seed)
        assert min(abs(each.index - 30) for each in found) <= 3
        hits += any(each.index == 30 for each in found)
    assert hits >= exact


def test_the_step_is_described() -> None:
    values = 5 * np.exp(np.random.default_rng(1).normal(0, 0.01, 50))
    values[30:] *= 1.08
    (found,) = changes(values, seed=0)
    assert found.index == 30
    assert found.low < 1.08 < found.high
    assert found.high - found.low < 0.03
    assert (found.before, found.after) == (np.median(values[:30]), np.median(values[30:]))
    assert found.p_value == pytest.approx(1 / (1 + change_points.SHUFFLES))


@pytest.mark.parametrize("place", [0, 1, 12, 24, 47, 48, 49])
@pytest.mark.parametrize("factor", [3.0, 100.0, 0.2])
def test_a_single_outlier_is_no_change(place: int, factor: float) -> None:  # H3
    values = np.exp(np.random.default_rng(place).normal(0, 0.02, 50))
    values[place] *= factor
    assert changes(values, seed=0) == ()


def test_an_outlier_hides_no_step() -> None:  # H3
    values = np.exp(np.random.default_rng(3).normal(0, 0.02, 50))
    values[30:] *= 1.08
    values[10] *= 50
    assert [each.index for each in changes(values, seed=0)] == [30]


def test_a_regression_that_was_mended_is_two_changes() -> None:  # H1
    hits = 0
    for seed in range(20):
        values = np.exp(np.random.default_rng(seed).normal(0, 0.02, 60))
        values[20:40] *= 1.08
        places = [each.index for each in changes(values, seed=seed)]
        hits += len(places) == 2 and abs(places[0] - 20) <= 2 and abs(places[1] - 40) <= 2
    assert hits >= 18


def test_five_runs_of_a_new_level_are_enough() -> None:
    """How soon one hears of it: 8 % in noise of 2 %."""
    found = 0
    for seed in range(20):
        values = np.exp(np.random.default_rng(seed).normal(0, 0.02, 35))
        values[30:] *= 1.08
        found += bool(changes(values, seed=seed))
    assert found >= 19


def test_few_runs_never_change() -> None:  # H4: five runs have no two levels of three
    for n in range(6):
        assert changes([1.0, 1.0, 1.0, 9.0, 9.0][:n], seed=0) == ()


def test_a_series_without_any_noise() -> None:
    assert changes([2.0] * 40, seed=0) == ()
    (found,) = changes([2.0] * 20 + [2.2] * 20, seed=0)
    assert found.index == 20
    assert found.ratio == pytest.approx(1.1)


def test_a_seed_decides_everything() -> None:
    values = np.exp(np.random.default_rng(4).normal(0, 0.05, 80))
    values[50:] *= 1.08
    assert changes(values, seed=1) == changes(values, seed=1)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_latency_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        changes([1.0, wrong], seed=0)
