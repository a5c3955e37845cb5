"""The float reference's own score -> nothing, or the error that the data is not what it should be.

A paired drop cannot see data that is wrong for both sides: with the labels of another file, reference and
candidate are both at chance, and nothing is lost. So the reference itself is looked at first.

R1  Its score is stated. It is far below where it falls short by more than chance explains (99.9 %, one-sided:
    Wilson's interval for right/wrong metrics, else 3.09 bootstrap standard errors) and by more than another
    library's resizing or a rounded figure do: 2 percentage points, 5 %, or 1 dB.
R2  Nothing is stated. It is at chance where both hold:
    a  its own labels do not fit better than the same labels in random order (99 %, one-sided). Class scores:
       the share that is right, by Wilson's interval, against sum_k P(label k) P(guess k), which is the mean
       over all orders. Others: paired with one random order;
    b  its outputs claim more than that. A hard task fulfils (a) too, when samples are few; but a model that
       learned only little says so:
         class scores    the mean confidence is 0.2 above the upper 99 % limit of the share that is right
         mae, rmse       its error is above that of one constant answer for all samples
         others          its own labels fit better by less than 2 points, 2 % or 0.2 dB (upper end)

A user's own metric is held to R1 alone: it may not look at labels at all.

Wilson, JASA 22:209, 1927.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.errors import DataError
from edgekit.spec import Array
from edgekit.validation import bootstrap
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.statistics import paired_drop

Floats = npt.NDArray[np.float64]

SEED = 0
FAR_BELOW = {"pp": 2.0, "%": 5.0, "dB": 1.0}  # R1
NO_BETTER = {"pp": 2.0, "%": 2.0, "dB": 0.2}  # R2b, others
STATED_CONFIDENCE = 0.998  # two-sided: 0.1 % of good data sets are refused
CHANCE_CONFIDENCE = 0.98  # two-sided: 1 % on the side that counts
OVERCONFIDENT = 0.2  # ReLU networks are overconfident by up to about 0.1 on data they know (Guo et al., 2017)
RESAMPLES = 500  # a standard error needs fewer than an interval's ends (Efron and Tibshirani, 1993, ch. 6)
_MORE = "docs/validation.md#the-reference-itself"


def shuffled(labels: Array) -> Array:
    """The labels in a random order, for ``Evaluation.mispaired``."""
    return labels[np.random.default_rng(SEED).permutation(len(labels))]


def check_reference(reference: Evaluation, labels: Array, *, expected: float | None) -> None:
    """Raise DataError (R1, R2) where the float reference itself scores as if the data were another's.

    Args:
        reference: the float reference's evaluation, with ``mispaired`` where R2 is to be looked at.
        labels: (count, ...).
        expected: what it should score; None where nothing is stated.
    """
    if expected is not None:
        _check_stated(reference, expected)
    elif reference.mispaired is not None and reference.own is None:
        _check_chance(reference, labels)


def _check_stated(reference: Evaluation, expected: float) -> None:
    """R1."""
    row = reference.row
    short = (expected - reference.value) if row.higher_is_better else (reference.value - expected)
    scale = {"pp": 100.0, "%": 100.0 / abs(expected) if expected else math.inf, "dB": 1.0}[row.drop_unit]
    reach = scale * _reach(reference, expected)
    if scale * short <= max(reach, FAR_BELOW[row.drop_unit]):
        return
    raise DataError(
        f"the float reference has {row.id} {reference.value:.4g} on these {reference.count} samples,"
        f" and {expected:.4g} is expected of it",
        why=f"it is {scale * short:.3g} {row.drop_unit} short, of which chance explains {reach:.2g}: labels,"
        " samples or pre-processing are not what it was trained for, and a drop against it means nothing",
        remedy="check that labels and samples belong together, the order of classes, and preprocess;"
        " correct `expected` if the figure is true",
        more=_MORE,
    )


def _reach(reference: Evaluation, expected: float) -> float:
    """How far below ``expected`` chance takes the value, in the value's own unit."""
    z = NormalDist().inv_cdf(0.5 + STATED_CONFIDENCE / 2.0)
    row = reference.row
    if row.binary:
        low, high = wilson(reference.value, reference.count, confidence=STATED_CONFIDENCE)
        return high - reference.value if expected >= reference.value else reference.value - low
    values = bootstrap.resampled(
        lambda weights: row.aggregate(reference.statistics, weights),
        count=reference.count,
        resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    return z * float(values.std())


def wilson(share: float, count: int, *, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _check_chance(reference: Evaluation, labels: Array) -> None:
    """R2."""
    try:
        found = (
            _classes(reference, labels) if reference.confidence is not None else _others(reference, labels)
        )
    except DataError:
        return  # without a value, or perfect to begin with: then the two orders are not alike
    if found is None:
        return
    other, claim = found
    raise DataError(
        f"the float reference has {reference.row.id} {reference.value:.4g} on these {reference.count}"
        f" samples, and no better than with their labels in random order ({other}), {claim}",
        why="labels and samples do not belong together, or the pre-processing is another's:"
        " a drop against a reference at chance means nothing",
        remedy="check the label file, the order of classes, and preprocess; if the figure is true, state it:"
        f" expected = {reference.value:.3g} under [data] evaluation, or --expected",
        more=_MORE,
    )


def _classes(reference: Evaluation, labels: Array) -> tuple[str, str] | None:
    """R2 for class scores: what chance gives and what the outputs claim, in words."""
    confidence, right, guess = np.asarray(reference.confidence, np.float64).T
    count = reference.count
    classes = int(max(guess.max(), labels.max())) + 1
    shares = [np.bincount(each.astype(np.int64), minlength=classes) / count for each in (guess, labels)]
    chance = float(shares[0] @ shares[1])
    low, high = wilson(float(right.mean()), count, confidence=CHANCE_CONFIDENCE)
    if low > chance or confidence.mean() - high < OVERCONFIDENT:
        return None
    return f"{right.mean():.3g} right, chance {chance:.3g}", f"though it is {confidence.mean():.0%} sure"


def _others(reference: Evaluation, labels: Array) -> tuple[str, str] | None:
    """R2 for metrics without classes."""
    assert reference.mispaired is not None  # noqa: S101  the caller looked
    row = reference.row
    value = row.value(reference.mispaired)
    other = replace(reference, statistics=reference.mispaired, value=value, mispaired=None)
    ahead = paired_drop(reference, other, confidence=CHANCE_CONFIDENCE, seed=SEED)
    claim = ""
    if row.id in _CONSTANTS:
        constant = _CONSTANTS[row.id](labels)
        claim = f"where one constant answer has {constant:.4g}" if reference.value > constant else ""
    elif ahead.high_pp < NO_BETTER[row.drop_unit]:
        claim = f"by at most {ahead.high_pp:.2g} {row.drop_unit}"
    return (f"{value:.4g}", claim) if claim and ahead.low_pp <= 0.0 else None


def _least_mae(labels: Array) -> float:
    wanted = np.asarray(labels, np.float64).reshape(len(labels), -1)
    return float(np.abs(wanted - np.median(wanted, axis=0)).mean())


def _least_rmse(labels: Array) -> float:
    wanted = np.asarray(labels, np.float64).reshape(len(labels), -1)
    return float(np.sqrt(((wanted - wanted.mean(axis=0)) ** 2).mean()))


_CONSTANTS: dict[str, Any] = {"mae": _least_mae, "rmse": _least_rmse}
