"""Figures of an old and of a new artifact -> what changed, with an interval where there is one.

Positive = worse, for every figure.

    loss         C1 the same file: 0
                 C2 per-sample evidence of both on the same samples: paired drop (``statistics``)
                 C3 both dropped against the same reference: d_new - d_old, MOVER
                 C4 right/wrong metrics, other references: Wilson's interval of each value, MOVER
                 C5 otherwise it is not known, and ``why`` says so
    time ratio   C6 p50_new / p50_old with [low_new / high_old, high_new / low_old]; one machine only;
                    the same three figures to the last digit are one measurement, and no change
    size ratio   C7 exact

MOVER: with L, U of each, (d_new - d_old) -/+ sqrt((d_new - L_new)^2 + (U_old - d_old)^2) (Zou and Donner,
Statistics in Medicine 27:1693, 2008). It takes the two as independent: on the same samples they are
positively correlated, so the interval is too wide rather than too narrow. Wilson: JASA 22:209, 1927.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from edgekit.errors import UnknownNameError
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.metrics import task_metric
from edgekit.validation.statistics import paired_drop

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scored:
    """What is known about how well one artifact does.

    Attributes:
        value: of the metric, and the float reference's.
        drop: against the reference, in ``unit``, with the ends of its interval.
        evaluation: its statistics for each sample, where they were kept.
    """

    metric: str
    unit: str
    value: float
    reference: float
    drop: float
    low: float
    high: float
    samples: int
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class Change:
    """From old to new; positive = worse. A ratio's value is new / old."""

    value: float
    low: float
    high: float
    unit: str
    method: str


@dataclass(frozen=True)
class NotComparable:
    """Why two figures cannot be held against each other."""

    why: str


def loss(old: Scored | None, new: Scored | None, *, same_file: bool, seed: int) -> Change | NotComparable:
    """How much worse ``new`` does (C1 to C5)."""
    if same_file:
        return Change(0.0, 0.0, 0.0, new.unit if new else "pp", "the same file")
    if old is None or new is None:
        return NotComparable(f"nothing is known about the accuracy of the {'new' if old else 'old'} one")
    if old.metric != new.metric:
        return NotComparable(f"the old one was scored by {old.metric}, the new one by {new.metric}")
    if old.evaluation is not None and new.evaluation is not None:
        if old.evaluation.count != new.evaluation.count:
            return NotComparable(
                f"the old one was scored on {old.evaluation.count} samples, the new one on "
                f"{new.evaluation.count}"
            )
        found = paired_drop(old.evaluation, new.evaluation, seed=seed)
        return Change(
            found.value_pp, found.low_pp, found.high_pp, found.unit, f"paired: {found.method}"
        )  # C2
    if math.isclose(old.reference, new.reference) and old.samples == new.samples:  # C3
        value, low, high = mover((new.drop, new.low, new.high), (old.drop, old.low, old.high))
        return Change(value, low, high, new.unit, "intervals against the same reference, MOVER")
    return _of_values(old, new)


def _of_values(old: Scored, new: Scored) -> Change | NotComparable:
    """C4, C5."""
    try:
        row = task_metric(new.metric)
    except UnknownNameError:
        row = None  # the user's own
    if row is None or not row.binary:
        return NotComparable(
            f"the references differ, and {new.metric} has no interval without its per-sample evidence"
        )
    sign = 1.0 if row.higher_is_better else -1.0
    value, low, high = mover(wilson(old.value, old.samples), wilson(new.value, new.samples))
    low, high = (low, high) if sign > 0 else (-high, -low)
    return Change(100 * sign * value, 100 * low, 100 * high, "pp", "Wilson's intervals of both values, MOVER")


def mover(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float, float]:
    """(value, low, high) of first - second, of two such triples."""
    value = first[0] - second[0]
    below = math.hypot(first[0] - first[1], second[2] - second[0])
    above = math.hypot(first[2] - first[0], second[0] - second[1])
    return value, value - below, value + above


def wilson(share: float, count: int) -> tuple[float, float, float]:
    """(share, low, high) of right answers among ``count``."""
    z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return share, min(share, middle - reach), max(share, middle + reach)


def slowdown(
    old: tuple[float, float, float] | None, new: tuple[float, float, float] | None, *, same_machine: bool
) -> Change | NotComparable:
    """Ratio of medians (C6) of two (median, low, high) in milliseconds."""
    if old is None or new is None:
        return NotComparable(f"the latency of the {'new' if old else 'old'} one was not measured")
    if not same_machine:
        return NotComparable("the two were measured on different machines")
    if old == new:
        return Change(1.0, 1.0, 1.0, "x", "the same measurement")  # two would differ in some digit
    return Change(new[0] / old[0], new[1] / old[2], new[2] / old[1], "x", "medians, measured apart")


def growth(old_bytes: float | None, new_bytes: float | None) -> Change | NotComparable:
    """Ratio of two exact figures (C7)."""
    if not old_bytes or new_bytes is None:
        return NotComparable(f"nothing is known of the {'new' if old_bytes else 'old'} one")
    ratio = new_bytes / old_bytes
    return Change(ratio, ratio, ratio, "x", "exact")
