"""Histogram of a tensor -> the clipping [low, high] that an 8-bit grid loses least with.

    least_squares:     argmin over (low, high) of  sum (x - clip(x))^2 + (count inside) * step^2 / 12
    least_divergence:  min t with  KL(P || Q) <= its least + NOISE,  low, high = -t, t inside the extrema

P: the histogram with what lies outside added to its outermost bins. Q: the inside of the histogram in 256
levels, each spread evenly over its bins that are not empty. Both searches are one array expression over
cumulative sums, not a loop over candidates.

What is looked for must not hang on single counts: a sample has to give the clipping of all values.
C1: The error has one valley, and its bottom lies between candidates: the parabola through three of them.
C2: The divergence has a wide, flat bottom with teeth (where a spike meets an edge of a level), and its least
    jumps from tooth to tooth. So it is averaged over neighbouring candidates, and what is looked for is where
    its steep side, on which too much is cut, reaches the bottom.

Zero is always inside, because it has to be exact. Zero and the extrema are exact on the grid, and clamps put
many values there: those bins have no rounding error, and no spike for the divergence.

Source: Migacz, "8-bit Inference with TensorRT" (GTC 2017), for the divergence; Banner et al., "Post training
4-bit quantization of convolutional networks" (2019), section 3.1, for the two terms of the error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.calibration.histogram import Histogram

LEVELS = 256  # of an 8-bit integer
NOISE = 1e-3  # divergences that differ by less are equal: some hundred of a million counts outside ...
NOISY_COUNTS = 50.0  # ... and fewer counts know less
FINENESS = 100  # candidates for an end of least squares, before C1
THRESHOLDS = 400  # candidates for t, each 0.6 % above the one before
BLUR = 20  # candidates on either side that are averaged: 12 % of t, as wide as the teeth of narrow levels
_SMALLEST = 0.1  # part of the extremum below which no clipping is looked for

Floats = npt.NDArray[np.float64]


def least_squares(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    """The ends with the least squared error; ``low`` and ``high`` are the exact extrema."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return low, high
    used = np.flatnonzero(histogram.counts)
    mass = histogram.counts[used].astype(np.float64)
    values: Floats = np.asarray((used + histogram.first + 0.5) * histogram.width, np.float64)
    rounded = np.where(used + histogram.first == 0, 0.0, mass)
    parts: Floats = np.linspace(_SMALLEST, 1.0, FINENESS)
    lows, highs = parts * low if low else np.zeros(1), parts * high if high else np.zeros(1)
    outside = _beyond(-values[::-1], mass[::-1], -lows)[:, None] + _beyond(values, mass, highs)[None, :]
    inside = _up_to(values, rounded, highs)[None, :] - _up_to(values, rounded, lows)[:, None]
    step = (highs[None, :] - lows[:, None]) / (LEVELS - 1)
    error = outside + inside * step**2 / 12
    row, column = (int(each) for each in np.unravel_index(int(np.argmin(error)), error.shape))
    return _bottom(lows, error[:, column], row), _bottom(highs, error[row], column)


def _bottom(ends: Floats, error: Floats, least: int) -> float:
    """C1: where the parabola through the least error and its two neighbours has its bottom."""
    if not 0 < least < len(ends) - 1:
        return float(ends[least])
    before, here, after = (float(error[least + side]) for side in (-1, 0, 1))
    bend = before - 2 * here + after
    moved = (before - after) / (2 * bend) if bend > 0 else 0.0  # at most half a candidate: ``here`` is least
    return float(ends[least] + moved * (ends[1] - ends[0]))


def _beyond(values: Floats, mass: Floats, ends: Floats) -> Floats:
    """Sum of mass * (value - end)^2 over the values above each end; ``values`` ascend."""
    moments = [np.concatenate([np.cumsum((mass * values**k)[::-1])[::-1], [0.0]]) for k in range(3)]
    at = np.searchsorted(values, ends, side="right")
    zeroth, first, second = (moment[at] for moment in moments)
    return np.asarray(second - 2 * ends * first + ends**2 * zeroth, np.float64)


def _up_to(values: Floats, mass: Floats, ends: Floats) -> Floats:
    """Mass of the values up to each end; ``values`` ascend."""
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    return cumulative[np.searchsorted(values, ends, side="right")]


def least_divergence(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    """The symmetric clipping, inside the exact extrema, that keeps the distribution best."""
    low, high = min(low, 0.0), max(high, 0.0)
    peak = max(-low, high)
    if peak == 0.0 or len(np.flatnonzero(histogram.counts)) < 2:
        return low, high
    ends = np.geomspace(_SMALLEST, 1.0, THRESHOLDS) * peak
    width = histogram.width
    start = np.floor(np.maximum(-ends, low) / width).astype(np.int64) - histogram.first
    stop = np.ceil(np.minimum(ends, high) / width).astype(np.int64) - histogram.first
    bins = len(histogram.counts)
    start, stop = np.clip(start, 0, bins - 1), np.clip(stop, 1, bins)
    # Fewer bins than levels would be lossless on paper. The widest candidate always has enough.
    eligible = stop - start >= min(LEVELS, int((stop - start)[-1]))
    counts = _without_spikes(histogram, low, high)
    divergence = _divergences(counts, start[eligible], stop[eligible])
    noise = max(NOISE, NOISY_COUNTS / histogram.total)
    end = _foot(ends[eligible], _blurred(divergence), noise)
    return max(-end, low), min(end, high)


def _blurred(divergence: Floats) -> Floats:
    """C2: the mean over as many neighbours on both sides, up to BLUR; at the ends there are fewer."""
    many = len(divergence)
    index = np.arange(many)
    aside = np.minimum(BLUR, np.minimum(index, many - 1 - index))
    cumulative = np.concatenate([[0.0], np.cumsum(divergence)])
    return np.asarray(
        (cumulative[index + aside + 1] - cumulative[index - aside]) / (2 * aside + 1), np.float64
    )


def _foot(ends: Floats, divergence: Floats, noise: float) -> float:
    """C2: the smallest end whose divergence is within ``noise`` of the least, interpolated."""
    enough = float(divergence.min()) + noise
    first = int(np.argmax(divergence <= enough))
    if first == 0:
        return float(ends[0])
    above, below = float(divergence[first - 1]), float(divergence[first])
    return float(ends[first] - (ends[first] - ends[first - 1]) * (enough - below) / (above - below))


def _without_spikes(histogram: Histogram, low: float, high: float) -> Floats:
    """Counts whose bins of zero and of the extrema are no higher than their neighbours."""
    counts = histogram.counts.astype(np.float64)
    for value in {0.0, low, high}:
        index = min(max(int(np.floor(value / histogram.width)) - histogram.first, 0), len(counts) - 1)
        beside = counts[max(index - 1, 0) : index + 2].copy()
        beside[min(index, 1)] = 0.0
        counts[index] = min(counts[index], float(beside.max()))
    return counts


def _divergences(counts: Floats, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> Floats:
    """KL(P || Q) of the clippings to bins [start, stop), (candidates,) each."""
    sums, filled, entropy = (
        np.concatenate([[0.0], np.cumsum(each)])
        for each in (counts, counts > 0, counts * np.log(np.maximum(counts, 1.0)))
    )
    total = max(float(sums[-1]), 1.0)
    edges = np.rint(start[:, None] + (stop - start)[:, None] * np.arange(LEVELS + 1) / LEVELS).astype(
        np.int64
    )
    level = np.diff(sums[edges], axis=1)  # (candidates, LEVELS) mass of each level
    bins = np.maximum(np.diff(filled[edges], axis=1), 1.0)
    inside = np.maximum(sums[stop] - sums[start], 1.0)
    # sum p log(p / q) with p = count / total and q = level / bins / inside, over the bins inside ...
    log_q = np.log(np.maximum(level, 1.0) / bins)
    plain = (entropy[stop] - entropy[start]) - (level * log_q).sum(axis=1)
    plain += (sums[stop] - sums[start]) * (np.log(inside) - np.log(total))
    # Counts of a sample are rougher than the distribution: on average by half for each degree of freedom.
    plain -= ((filled[stop] - filled[start]) - (level > 0).sum(axis=1)) / 2
    # ... and what the mass outside adds to the outermost bins.
    added = np.zeros(len(start))
    for bin_index, mass, of_level in (
        (start, sums[start], log_q[:, 0]),
        (stop - 1, total - sums[stop], log_q[:, -1]),
    ):
        here = counts[bin_index]
        more = here + mass
        p_log_p = more * np.log(np.maximum(more, 1.0)) - here * np.log(np.maximum(here, 1.0))
        added += np.where(mass > 0, p_log_p - mass * of_level + mass * (np.log(inside) - np.log(total)), 0.0)
    return np.asarray((plain + added) / total, np.float64)
