"""Two evaluations of the same samples -> bias-corrected and accelerated bootstrap interval of the drop.

Samples are drawn with replacement, reference and candidate together (paired), and the drop is computed from
the per-sample statistics of each draw. The interval is BCa (Efron, JASA 82:171, 1987; Efron and Tibshirani,
An Introduction to the Bootstrap, 1993, ch. 14):

    ends   = quantiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the bootstrap drops, z = -+z_(confidence)
    z0     = Phi^-1(share of bootstrap drops below the observed one, ties one half)
    a      = sum (m - d_i)^3 / (6 (sum (m - d_i)^2)^1.5), d_i: drop without group i, m: their mean

Where samples are few and their statistics skewed, BCa is a little short (mAP of 100 images: it holds the true
drop in 92.8 % of 500 data sets). So each end is the wider one of BCa and of the normal interval around the
bias-corrected drop (Davison and Hinkley, Bootstrap Methods and their Application, 1997, sec. 5.2); elsewhere
they differ little (94.0 % there; benchmarks/interval_coverage.py):

    ends   = observed - (mean of the bootstrap drops - observed) -+ z * their standard deviation

The acceleration comes from a jackknife over at most 200 groups: the skewness of group sums shrinks with the
square root of their size exactly as their number does, so that grouping does not change its expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError

Floats = npt.NDArray[np.float64]
Drops = Callable[[Floats], Floats]
"""Weights (R, N) -> drops (R,), NaN where undefined."""

RESAMPLES = (
    2000  # Efron and Tibshirani ask for at least 1000 for BCa; the ends then move by ~3 % of the width
)
JACKKNIFE_GROUPS = 200  # a tenth of the bootstrap's own cost
WEIGHTS_AT_ONCE = 4_000_000  # 32 MB of float64: a block of resamples that fits beside everything else
LARGEST_UNDEFINED_SHARE = 0.05  # of resamples; beyond it, dropping them would bend the quantiles


def _blocks(rows: int, columns: int) -> Iterator[int]:
    size = max(1, WEIGHTS_AT_ONCE // columns)
    for start in range(0, rows, size):
        yield min(size, rows - start)


def resampled(drops: Drops, *, count: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Drops (resamples,) of paired draws with replacement.

    Raises:
        DataError: the metric is undefined in more than 5 % of the draws.
    """
    values = []
    for rows in _blocks(resamples, count):
        picks = rng.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(picks.ravel(), minlength=rows * count).reshape(rows, count)
        values.append(drops(weights.astype(np.float64)))
    result = np.concatenate(values)
    defined = np.isfinite(result)
    if defined.mean() < 1.0 - LARGEST_UNDEFINED_SHARE:
        raise DataError(
            f"the metric is undefined in {1.0 - defined.mean():.0%} of the resamples of {count} samples",
            why="too few samples of a class, or a reference without any error: no interval can be given",
            remedy="evaluate on more samples",
        )
    return result[defined]


def acceleration(drops: Drops, *, count: int, rng: np.random.Generator) -> float:
    """The skewness constant ``a`` of BCa from a grouped jackknife; 0 where the drop does not vary."""
    groups = min(count, JACKKNIFE_GROUPS)
    if groups < 2:
        return 0.0
    member = rng.permutation(count) % groups
    values = []
    start = 0
    for rows in _blocks(groups, count):
        values.append(drops((member[None, :] != np.arange(start, start + rows)[:, None]).astype(np.float64)))
        start += rows
    left_out = np.concatenate(values)
    left_out = left_out[np.isfinite(left_out)]
    if not len(left_out):
        return 0.0
    away = left_out.mean() - left_out
    spread = float(np.sqrt((away**2).sum()))
    scale = float(np.abs(left_out).max())
    if spread <= 1e-12 * max(scale, 1e-300):  # rounding noise of equal values, not skewness
        return 0.0
    return float(((away / spread) ** 3).sum() / 6.0)


def interval(
    drops: Drops,
    *,
    count: int,
    confidence: float,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Interval of the drop of ``count`` samples: the wider ends of BCa and of the bias-corrected normal one.

    Raises:
        DataError: the metric is undefined in more than 5 % of the draws.
    """
    values = np.sort(resampled(drops, count=count, resamples=resamples, rng=rng))
    observed = float(drops(np.ones((1, count)))[0])
    low, high = bca_interval(drops, values, observed, count=count, confidence=confidence, rng=rng)
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    middle, reach = 2.0 * observed - float(values.mean()), z * float(values.std())
    return min(low, middle - reach), max(high, middle + reach)


def bca_interval(
    drops: Drops,
    values: Floats,
    observed: float,
    *,
    count: int,
    confidence: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """BCa interval; percentile where every draw is on one side.

    Args:
        drops: for the jackknife.
        values: drops of the draws, sorted.
        observed: the drop of the data.
        count: number of samples.
        confidence: of the two-sided interval.
        rng: of the jackknife's groups.
    """
    normal = NormalDist()
    share = float(np.mean(values < observed) + 0.5 * np.mean(values == observed))
    z = normal.inv_cdf(0.5 + confidence / 2.0)
    ends: list[float] = [normal.cdf(-z), normal.cdf(z)]
    if 0.0 < share < 1.0:
        z0 = normal.inv_cdf(share)
        a = acceleration(drops, count=count, rng=rng)
        stretched = [1.0 - a * (z0 + side) for side in (-z, z)]
        if min(stretched) > 0.0:
            ends = [normal.cdf(z0 + (z0 + s) / d) for s, d in zip((-z, z), stretched, strict=True)]
    found: npt.NDArray[Any] = np.quantile(values, ends)
    return float(found[0]), float(found[1])
