"""Figures before and after -> after over before, with its interval. Both sides are independent of each other.

The bootstrap draws each side by itself and compares medians (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 8: the two-sample problem). With few figures on a side it says nothing; then the
interval is from the least ratio to the largest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.measure.statistics import Interval

RESAMPLES = 1000
FEW = 5  # figures of a side below which a bootstrap of its median says nothing


def level_ratio(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], *, rng: np.random.Generator
) -> Interval:
    """Ratio of medians with its 95 % interval; no side is empty, and all figures are positive."""
    value = float(np.median(after) / np.median(before))
    if min(len(before), len(after)) < FEW:
        low, high = float(after.min() / before.max()), float(after.max() / before.min())
    else:
        drawn = [
            np.median(each[rng.integers(0, len(each), (RESAMPLES, len(each)))], axis=1)
            for each in (after, before)
        ]
        low, high = (float(each) for each in np.quantile(drawn[0] / drawn[1], [0.025, 0.975]))
    return Interval(value, min(low, value), max(high, value))
