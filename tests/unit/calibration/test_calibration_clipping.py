"""clipping: a sample gives the clipping of all values, and that is the one the plain criterion asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.calibration import clipping
from edgekit.calibration.choose_method import expected_error
from edgekit.calibration.evidence import Evidence, Seen
from edgekit.calibration.histogram import Histogram
from edgekit.calibration.observers import Entropy, Method, Percentile, SquaredError
from edgekit.spec import Array

ALL, EVERY = 4_000_000, 4  # values, and one in so many of them: a million, as of 128 samples
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
AGREEMENT = 0.02  # of the scale
SEEDS = range(3)


@dataclass(frozen=True)
class Distribution:
    id: str
    draw: Callable[[np.random.Generator, int], Array]


DISTRIBUTIONS = (
    Distribution("normal", lambda rng, many: rng.normal(size=many)),
    Distribution("laplace", lambda rng, many: rng.laplace(size=many)),
    Distribution("half-normal", lambda rng, many: np.maximum(rng.normal(size=many), 0)),
    Distribution("two humps", lambda rng, many: rng.normal(size=many) + 6 * rng.integers(0, 2, many)),
    Distribution("heavy tail", lambda rng, many: rng.standard_t(6, size=many)),
    Distribution("clamped", lambda rng, many: np.clip(rng.laplace(size=many), 0, 6)),
)


def seen(values: Array, low: float, high: float) -> Seen:
    """``values`` counted between extrema that are known to be exact."""
    evidence, row = Evidence(("x",), counted=True), values.reshape(1, -1)
    ends = (np.full((1, 1), low), np.full((1, 1), high))
    evidence.see(np.zeros(1, np.intp), *ends, start=0)
    evidence.count([(row, np.zeros(row.size, np.intp))])
    return evidence.seen(0)


def drawn(case: Distribution, seed: int) -> tuple[Seen, Seen]:
    """(a sample, everything)."""
    values = case.draw(np.random.default_rng(seed), ALL).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return seen(values[::EVERY], low, high), seen(values, low, high)


def width(method: Method, one: Seen) -> float:
    found = method.range_of(one)
    return max(found.high, 0.0) - min(found.low, 0.0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", DISTRIBUTIONS, ids=lambda case: case.id)
def test_a_sample_gives_the_scale_of_all_values(case: Distribution, seed: int) -> None:
    some, everything = drawn(case, seed)
    for method in (Percentile(), Entropy()):
        assert width(method, some) == pytest.approx(width(method, everything), rel=AGREEMENT), method


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", DISTRIBUTIONS, ids=lambda case: case.id)
def test_a_sample_gives_a_squared_error_as_small_as_all_values(case: Distribution, seed: int) -> None:
    """Tolerance: 5 % of the error. The scale itself hangs on a few dozen counts: up to 7 % were seen."""
    some, everything = drawn(case, seed)
    assert everything.histogram is not None
    ranges = [SquaredError().range_of(each) for each in (some, everything)]
    found, best = (expected_error(everything.histogram, each) for each in ranges)
    assert found <= 1.05 * best


def plain_divergence(histogram: Histogram, counts: Floats, low: float, high: float) -> float:
    """The definition, bin by bin: what is outside is in P's outermost bins, Q has 256 levels."""
    start = max(int(np.floor(low / histogram.width)) - histogram.first, 0)
    stop = min(int(np.ceil(high / histogram.width)) - histogram.first, len(counts))
    inside = counts[start:stop]
    p, q = inside.copy(), np.zeros(len(inside))
    p[0] += counts[:start].sum()
    p[-1] += counts[stop:].sum()
    for level in np.array_split(np.arange(len(inside)), clipping.LEVELS):
        filled = level[inside[level] > 0]
        if len(filled):
            q[filled] = inside[filled].sum() / len(filled)
    used = (p > 0) & (q > 0)
    p, q = p / p.sum(), q / q.sum()
    return float((p[used] * np.log(p[used] / q[used])).sum())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", DISTRIBUTIONS, ids=lambda case: case.id)
def test_the_divergence_is_that_of_the_definition_within_noise_of_its_least(
    case: Distribution, seed: int
) -> None:
    """Tolerance: twice NOISE, for the blur. Cutting a fifth more is worse: there it is steep."""
    everything = drawn(case, seed)[1]
    histogram = everything.histogram
    assert histogram is not None
    low, high = everything.low, everything.high
    peak = max(-low, high)

    counts = clipping._without_spikes(histogram, low, high)

    def at(end: float) -> float:
        return plain_divergence(histogram, counts, max(-end, low), min(end, high))

    found = Entropy().range_of(everything)
    end = max(-found.low, found.high)
    least = min(at(part * peak) for part in np.linspace(0.3, 1, 71))
    assert at(end) <= least + 2 * clipping.NOISE
    assert at(0.8 * end) > least + 2 * clipping.NOISE


def test_the_bottom_of_a_parabola_is_found_between_candidates() -> None:
    ends = np.linspace(1.0, 2.0, 11)
    for bottom in (1.33, 1.5, 1.78):
        error = (ends - bottom) ** 2 + 1
        assert clipping._bottom(ends, error, int(error.argmin())) == pytest.approx(bottom, abs=1e-12)  # C1
    assert clipping._bottom(ends, ends, 0) == 1.0
    assert clipping._bottom(ends, np.ones(11), 5) == 1.5


def test_the_foot_does_not_jump_from_tooth_to_tooth() -> None:
    """C2: a hundredth more noise moves it by less than AGREEMENT; without the blur by more."""
    ends = np.geomspace(0.1, 1.0, clipping.THRESHOLDS)
    teeth = 0.02 * np.maximum(0.5 - ends, 0.0) + 0.002 * np.abs(np.sin(np.arange(len(ends)) * 0.3))
    noises = clipping.NOISE * 1.01 ** np.arange(60)

    def largest_jump(divergence: Floats) -> float:
        feet = np.array([clipping._foot(ends, divergence, float(noise)) for noise in noises])
        return float((feet[:-1] / feet[1:]).max() - 1)

    assert largest_jump(clipping._blurred(teeth)) < AGREEMENT < largest_jump(teeth)
