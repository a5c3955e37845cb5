"""observers: exact extrema, exact counts, percentiles within one bin, clippings that lose least."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from edgekit.calibration.evidence import Evidence, Seen
from edgekit.calibration.histogram import BINS, Histograms
from edgekit.calibration.observers import (
    Entropy,
    Method,
    MinMax,
    MovingAverage,
    Percentile,
    SquaredError,
    observer_from_method,
)
from edgekit.errors import InputError, UnknownNameError
from edgekit.spec import Array, Range

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def seen(*batches: Array) -> Seen:
    """Each batch is one sample of one tensor."""
    evidence, tensor = Evidence(("x",), counted=True), np.zeros(1, np.intp)
    for index, batch in enumerate(batches):
        if batch.size:
            row = batch.reshape(1, -1)
            low, high = row.min(axis=1, keepdims=True), row.max(axis=1, keepdims=True)
            evidence.see(tensor, low, high, start=index)
            evidence.count([(row, np.zeros(row.shape[1], np.intp))])
    return evidence.seen(0)


def observe(method: Method, *batches: Array) -> Range:
    return method.range_of(seen(*batches))


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def test_minmax_is_exact_over_batches() -> None:
    assert observe(MinMax(), f32(1, 2), f32(-3, 0.5), f32()) == Range(-3.0, 2.0)


def test_the_moving_average_is_the_mean_of_few_samples() -> None:
    found = observe(MovingAverage(), f32(-1, 4), f32(-3, 2), f32(-2, 9))
    assert found.low == pytest.approx(-2.0)
    assert found.high == pytest.approx(5.0)


def test_the_moving_average_forgets_slowly() -> None:
    found = observe(MovingAverage(), *[f32(0, 1)] * 500, *[f32(0, 2)] * 100)
    assert found.high == pytest.approx(2 - 0.99**100, rel=1e-6)


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


@pytest.mark.parametrize("case", DISTRIBUTIONS, ids=lambda case: case.id)
@pytest.mark.parametrize("method", [Entropy(), SquaredError()], ids=["entropy", "mse"])
def test_clippings_stay_inside_the_extrema(method: Method, case: Distribution) -> None:
    found = observe(method, *np.array_split(case.values, 7))
    assert case.values.min() <= found.low <= found.high <= case.values.max()


def squared_error(values: Floats, found: Range) -> float:
    """Of the values' image on 256 levels over ``found`` with zero inside."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    step = (high - low) / 255
    image = np.clip(np.rint((values - low) / step), 0, 255) * step + low
    return float(((values - image) ** 2).mean())


def test_mse_is_as_good_as_a_search_over_real_quantization() -> None:
    """Tolerance: 2 % of the error, for a normal distribution with outliers; seed 3."""
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=100_000), [30.0, -25.0]]).astype(np.float32)
    found = observe(SquaredError(), values)
    ends = np.linspace(0.1, 1, 46)
    best = min(squared_error(values, Range(-25 * low, 30 * high)) for low in ends for high in ends)
    assert squared_error(values, found) <= 1.02 * best
    assert squared_error(values, found) < 0.85 * squared_error(values, Range(-25.0, 30.0))


def test_entropy_cuts_a_lonely_outlier_and_keeps_a_uniform_distribution() -> None:
    rng = np.random.default_rng(4)
    lonely = np.concatenate([rng.normal(size=600_000), [40.0]]).astype(np.float32)
    assert observe(Entropy(), lonely).high < 15
    uniform = rng.uniform(-2, 1, 200_000).astype(np.float32)
    found = observe(Entropy(), uniform)
    assert found.low < -1.95
    assert found.high > 0.97


@pytest.mark.parametrize("method", [Entropy(), SquaredError()], ids=["entropy", "mse"])
def test_a_spike_at_a_clamp_is_no_reason_to_cut(method: Method) -> None:
    values = np.clip(np.random.default_rng(5).normal(2, 3, 200_000), 0, 6).astype(np.float32)
    found = observe(method, values)
    assert found.high == pytest.approx(6.0, rel=0.02)


def test_no_value_is_lost_when_the_bins_grow() -> None:
    bins = Histograms(1)
    exponents = range(-100, 100, 7)
    for exponent in exponents:
        peak = np.full(1, 2.0**exponent)
        bins.fit(-peak, peak)
        bins.add(f32(2.0**exponent, -(2.0**exponent), 0.0)[None], np.zeros(3, np.intp))
    assert bins.one(0).total == 3 * len(exponents)
    assert bins.one(0).counts.shape == (BINS,)


def test_counts_do_not_depend_on_how_the_data_is_cut() -> None:
    values = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    one = seen(values[:100], values[100:]).histogram
    many = seen(values[:100], *np.array_split(values[100:], 33)).histogram
    assert one is not None
    assert many is not None
    assert one.digest() == many.digest()
    assert one.digest() != seen(values[:-1]).histogram.digest()  # type: ignore[union-attr]  # made above


def test_tensors_are_counted_apart() -> None:
    bins = Histograms(3)
    values = np.random.default_rng(2).normal(size=(50, 30)).astype(np.float32) * np.repeat([1, 100, 0.01], 10)
    owners = np.repeat(np.arange(3), 10)
    extremes = [values[:, owners == tensor] for tensor in range(3)]
    bins.fit(np.array([e.min() for e in extremes]), np.array([e.max() for e in extremes]))
    bins.add(values.astype(np.float32), owners)
    for tensor in range(3):
        one = bins.one(tensor)
        edges = (np.arange(BINS + 1) + one.first) * one.width
        expected = np.histogram(values[:, owners == tensor].astype(np.float32), edges)[0]
        np.testing.assert_array_equal(one.counts, expected)


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0, 1e-44])
@pytest.mark.parametrize("method", [Percentile(), SquaredError(), Entropy()], ids=["percentile", "mse", "kl"])
def test_a_constant_has_its_own_range(method: Method, value: float) -> None:
    value = float(np.float32(value))
    assert observe(method, f32(value, value), f32(value)) == Range(value, value)


def test_zeros_first_and_values_later() -> None:
    found = observe(Percentile(100.0), np.zeros(10, np.float32), f32(5.0))
    assert found == Range(0.0, 5.0)


def test_one_hundred_percent_is_minmax() -> None:
    values = np.random.default_rng(2).normal(size=1000).astype(np.float32)
    assert observe(Percentile(100.0), values) == observe(MinMax(), values)


def test_quantiles_ascend() -> None:
    histogram = seen(np.random.default_rng(6).normal(size=999).astype(np.float32)).histogram
    assert histogram is not None
    quantiles = [histogram.quantile(rank) for rank in range(0, 999, 37)]
    assert all(first <= second for first, second in pairwise(quantiles))


def test_a_method_that_counts_says_so_when_nothing_was_counted() -> None:
    with pytest.raises(TypeError, match="needs a histogram"):
        Percentile().range_of(Seen(0.0, 1.0, 0.0, 1.0))


def test_methods_are_found_by_name() -> None:
    assert observer_from_method("minmax") == MinMax()
    assert observer_from_method("moving-average") == MovingAverage()
    assert observer_from_method("percentile") == Percentile(99.99)
    assert observer_from_method("percentile:99.9") == Percentile(99.9)
    assert observer_from_method("entropy") == Entropy()
    assert observer_from_method("mse") == SquaredError()


@pytest.mark.parametrize(
    "method",
    ["percentile:0", "percentile:50", "percentile:101", "percentile:x", "minmax:3", "mse:", "entropy:2"],
)
def test_a_bad_parameter_is_refused(method: str) -> None:
    with pytest.raises(InputError):
        observer_from_method(method)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="minmx") as caught:
        observer_from_method("minmx")
    assert "minmax" in str(caught.value)


def test_the_extent_of_nothing_is_inverted() -> None:
    assert Evidence(("x",), counted=False).seen(0).low == math.inf
