"""Two evaluations of the same samples -> Drop: what the candidate loses, with a 95 % interval.

    right/wrong per sample (top1, top5)  -> interval of paired proportions (``proportions``)
    any other metric                     -> paired bootstrap, BCa or normal, seeded (``bootstrap``)

Positive = the candidate is worse. The unit is that of the metric's row: percentage points, or percent of the
reference's value.

A resample cannot show what no sample showed. So with fewer than ten differing samples the bootstrap interval
is widened by the share of unseen differing samples that the data cannot exclude, z^2 / (n + z^2) (Tango's
limit without discordant pairs), each counted as one that loses everything: 100 units of the drop (the cap in
decibels). Two equal evaluations therefore have an interval around 0 and not the point 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.validation import bootstrap
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import TaskMetric
from edgekit.validation.proportions import paired_interval

Floats = npt.NDArray[np.float64]

FEW_DIFFERENCES = 10  # below it a bootstrap misses rare losses; tests/unit/validation shows the coverage
MOST_SAMPLES = 10**9  # a plan for more samples than this is no plan


@dataclass(frozen=True)
class Drop:
    """What the candidate loses against the reference on the same samples; positive = worse.

    Attributes:
        metric: id of the metric.
        reference: the reference's value.
        candidate: the candidate's value.
        value_pp: the loss, in ``unit``.
        low_pp: lower end of the interval, in ``unit``.
        high_pp: upper end.
        unit: "pp" (percentage points), "%" (of the reference's value) or "dB".
        method: how the interval was found.
        confidence: of the two-sided interval.
        count: number of samples.
        lost: samples right only in the reference; None unless the metric is right/wrong.
        gained: samples right only in the candidate; None unless the metric is right/wrong.
    """

    metric: str
    reference: float
    candidate: float
    value_pp: float
    low_pp: float
    high_pp: float
    unit: str
    method: str
    confidence: float
    count: int
    lost: int | None = None
    gained: int | None = None


def _check_pair(reference: Evaluation, candidate: Evaluation) -> None:
    if reference.metric != candidate.metric or reference.count != candidate.count:
        raise DataError(
            f"{reference.metric} of {reference.count} samples cannot be paired with"
            f" {candidate.metric} of {candidate.count}",
            why="a paired drop compares the same metric sample by sample",
            remedy="evaluate reference and candidate on the same data with the same metric",
        )


def drops_of(row: TaskMetric, reference: npt.NDArray[Any], candidate: npt.NDArray[Any]) -> Floats:
    """Values (R,) of both -> drops (R,) in the row's unit; NaN where the reference leaves it undefined."""
    if row.drop_unit != "%":
        loss = (reference - candidate) if row.higher_is_better else (candidate - reference)
        return np.asarray((100.0 if row.drop_unit == "pp" else 1.0) * loss, np.float64)
    change = 100.0 * (candidate - reference)
    drop = np.full(change.shape, np.nan)
    np.divide(change, reference, out=drop, where=reference > 0)
    drop[(reference == 0) & (candidate == 0)] = 0.0
    return -drop if row.higher_is_better else drop


def _differing(reference: Evaluation, candidate: Evaluation) -> int:
    """How many samples have other statistics in the candidate than in the reference."""
    differs = np.zeros(reference.count, bool)
    for key, one in reference.statistics.items():
        other = candidate.statistics[key]
        if one.shape != other.shape:  # detections: another number of slots, so compare sample by sample
            width = max(one.shape[1], other.shape[1])
            one, other = (  # noqa: PLW2901 - the padded pair replaces the pair
                np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=-1) for a in (one, other)
            )
        differs |= (one != other).reshape(reference.count, -1).any(axis=1)
    return int(differs.sum())


def _unseen_share(count: int, confidence: float) -> float:
    square = NormalDist().inv_cdf(0.5 + confidence / 2.0) ** 2
    return square / (count + square)


def paired_drop(
    reference: Evaluation, candidate: Evaluation, *, confidence: float = 0.95, seed: int = 0
) -> Drop:
    """The candidate's loss with its interval.

    Args:
        reference: the float original's evaluation.
        candidate: the evaluation of what would ship, on the same samples in the same order.
        confidence: of the two-sided interval; each end is passed with half the rest.
        seed: of the bootstrap's draws; no effect for right/wrong metrics.

    Raises:
        DataError: other metric or number of samples; a relative drop of a reference without any error.
    """
    _check_pair(reference, candidate)
    row = reference.row
    count = reference.count
    if row.binary or (row.is_own and set(reference.statistics) == {"hit"} == set(candidate.statistics)):
        right, still = reference.statistics["hit"].astype(bool), candidate.statistics["hit"].astype(bool)
        lost, gained = int((right & ~still).sum()), int((~right & still).sum())
        low, high = paired_interval(lost=lost, gained=gained, count=count, confidence=confidence)
        value = 100.0 * (lost - gained) / count
        if not row.higher_is_better:
            value, low, high = -value, -high, -low
        return Drop(
            row.id,
            reference.value,
            candidate.value,
            value,
            100.0 * low,
            100.0 * high,
            row.drop_unit,
            "paired proportions: Tango score, skewness-corrected",
            confidence,
            count,
            lost,
            gained,
        )

    def drops(weights: Floats) -> Floats:
        return drops_of(
            row,
            row.aggregate(reference.statistics, weights),
            row.aggregate(candidate.statistics, weights),
        )

    value = float(drops_of(row, np.array([reference.value]), np.array([candidate.value]))[0])
    if not math.isfinite(value):
        raise DataError(
            f"the reference's {row.id} is {reference.value:g}, and a relative loss against it is undefined",
            why="the labels are probably the reference's own outputs",
            remedy="evaluate against true labels; compare outputs with the drift figures instead",
        )
    rng = np.random.default_rng(seed)
    low, high = bootstrap.interval(drops, count=count, confidence=confidence, rng=rng)
    method = f"paired bootstrap, BCa and normal, {bootstrap.RESAMPLES} resamples, seed {seed}"
    differing = _differing(reference, candidate)
    if differing < FEW_DIFFERENCES:
        everything = row.best if row.drop_unit == "dB" else 100.0
        unseen = everything * _unseen_share(count, confidence)
        low, high = min(low, value - unseen), max(high, value + unseen)
        method += f"; widened, as only {differing} samples differ"
    return Drop(
        row.id,
        reference.value,
        candidate.value,
        value,
        low,
        high,
        row.drop_unit,
        method,
        confidence,
        count,
    )


def samples_needed(drop: Drop, max_drop_pp: float) -> int | None:
    """About how many samples would decide the budget, if more samples look like those seen.

    Right/wrong metrics: the smallest multiple of the observed counts whose interval no longer straddles the
    budget. Others: the distance between value and interval end shrinks with the square root of the number.

    Returns:
        The number of samples in total; ``drop.count`` where it is decided already; None where the observed
        loss is the budget itself, or more than 1e9 samples would be needed.
    """
    if drop.high_pp <= max_drop_pp or drop.low_pp > max_drop_pp:
        return drop.count
    room = max_drop_pp - drop.value_pp
    if room == 0.0:
        return None
    if drop.lost is None or drop.gained is None:
        reach = drop.high_pp - drop.value_pp if room > 0 else drop.value_pp - drop.low_pp
        needed = drop.count * (reach / abs(room)) ** 2
        return math.ceil(needed) if needed <= MOST_SAMPLES else None

    lost, gained, count = drop.lost, drop.gained, drop.count

    def decided(factor: float) -> bool:
        low, high = paired_interval(
            lost=lost * factor, gained=gained * factor, count=count * factor, confidence=drop.confidence
        )
        return 100.0 * high <= max_drop_pp or 100.0 * low > max_drop_pp

    enough = 2.0
    while not decided(enough):
        enough *= 2.0
        if enough * count > MOST_SAMPLES:
            return None
    short = enough / 2.0
    while (enough - short) * count > 1.0:
        middle = 0.5 * (short + enough)
        short, enough = (short, middle) if decided(middle) else (middle, enough)
    return math.ceil(enough * count)
