"""observers: exact extrema, exact counts, percentiles within one bin, memory that does not grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.calibration.observers import BINS, MinMax, Percentile, observer_from_method
from edgekit.errors import InputError, UnknownNameError
from edgekit.spec import Array, Range


def observe(observer: MinMax | Percentile, *batches: Array) -> Range:
    if isinstance(observer, MinMax):
        extent = observer.start()
        for batch in batches:
            extent = observer.update(extent, batch)
        return observer.finish(extent)
    state = observer.start()
    for batch in batches:
        state = observer.update(state, batch)
    return observer.finish(state)


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def test_minmax_is_exact_over_batches() -> None:
    assert observe(MinMax(), f32(1, 2), f32(-3, 0.5), f32()) == Range(-3.0, 2.0)


@dataclass(frozen=True)
class Distribution:
    id: str
    values: Array
    percent: float = 99.0


RNG = np.random.default_rng(0)
DISTRIBUTIONS = (
    Distribution("normal", RNG.normal(size=50_000).astype(np.float32)),
    Distribution("normal, strict", RNG.normal(size=50_000).astype(np.float32), 99.99),
    Distribution("far from zero", (1000 + RNG.normal(size=50_000)).astype(np.float32)),
    Distribution("relu", np.maximum(RNG.normal(size=50_000), 0).astype(np.float32)),
    Distribution("tiny", (RNG.normal(size=50_000) * 1e-30).astype(np.float32)),
    Distribution("huge", (RNG.normal(size=50_000) * 1e30).astype(np.float32)),
    Distribution("negative", -np.abs(RNG.normal(size=50_000)).astype(np.float32)),
    Distribution("heavy tail", RNG.standard_cauchy(size=50_000).astype(np.float32)),
    Distribution("growing", np.exp(np.linspace(0, 20, 50_000)).astype(np.float32)),
)


@pytest.mark.parametrize("case", DISTRIBUTIONS, ids=lambda case: case.id)
def test_percentile_is_numpys_within_two_bins(case: Distribution) -> None:
    """Tolerance: 2 bins of 1/1024 of the range seen (the width's worst case)."""
    values = np.asarray(case.values, np.float64)
    found = observe(Percentile(case.percent), *np.array_split(case.values, 7))
    low, high = np.percentile(values, [100 - case.percent, case.percent])
    bin_width = (values.max() - values.min()) / (BINS / 4)
    assert abs(found.low - low) <= 2 * bin_width
    assert abs(found.high - high) <= 2 * bin_width
    assert values.min() <= found.low <= found.high <= values.max()


def test_no_value_is_lost_when_the_bins_grow() -> None:
    observer = Percentile()
    state = observer.start()
    for exponent in range(-100, 100, 7):
        state = observer.update(state, f32(2.0**exponent, -(2.0**exponent), 0.0))
    assert int(state.counts.sum()) == 3 * len(range(-100, 100, 7))
    assert state.counts.shape == (BINS,)


def test_counts_do_not_depend_on_how_the_data_is_cut() -> None:
    values = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    whole, parts = Percentile(), Percentile()
    one = whole.update(whole.update(whole.start(), values[:100]), values[100:])
    many = parts.update(parts.start(), values[:100])
    for part in np.array_split(values[100:], 33):
        many = parts.update(many, part)
    assert one.exponent == many.exponent
    assert whole.finish(one) == parts.finish(many)


def test_updating_does_not_change_the_state_before() -> None:
    observer = Percentile()
    before = observer.update(observer.start(), f32(1, 2, 3))
    copy = before.counts.copy()
    observer.update(before, f32(100))
    np.testing.assert_array_equal(before.counts, copy)


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0, 1e-44])
def test_a_constant_has_its_own_range(value: float) -> None:
    value = float(np.float32(value))
    assert observe(Percentile(), f32(value, value), f32(value)) == Range(value, value)


def test_zeros_first_and_values_later() -> None:
    found = observe(Percentile(100.0), np.zeros(10, np.float32), f32(5.0))
    assert found == Range(0.0, 5.0)


def test_one_hundred_percent_is_minmax() -> None:
    values = np.random.default_rng(2).normal(size=1000).astype(np.float32)
    assert observe(Percentile(100.0), values) == observe(MinMax(), values)


def test_an_empty_batch_changes_nothing() -> None:
    assert observe(Percentile(), f32(1, 2), f32()) == observe(Percentile(), f32(1, 2))


def test_methods_are_found_by_name() -> None:
    assert observer_from_method("minmax") == MinMax()
    assert observer_from_method("percentile") == Percentile(99.99)
    assert observer_from_method("percentile:99.9") == Percentile(99.9)


@pytest.mark.parametrize(
    "method", ["percentile:0", "percentile:50", "percentile:101", "percentile:x", "minmax:3"]
)
def test_a_bad_parameter_is_refused(method: str) -> None:
    with pytest.raises(InputError):
        observer_from_method(method)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="minmx") as caught:
        observer_from_method("minmx")
    assert "minmax" in str(caught.value)


def test_the_extent_of_nothing_is_inverted() -> None:
    assert MinMax().start().low == math.inf
