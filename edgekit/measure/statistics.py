"""Samples by round -> percentiles, intervals, verdicts. Pure functions; nothing here reads a clock.

    ratio = exp(median over blocks of mean over the block's two rounds of log(candidate / baseline))

Rounds run A B, B A, A B, B A ...; two neighbouring rounds are a block. Within a block a drift that is linear
in time raises one ratio as much as it lowers the other, so the block's mean is free of it (ABBA design:
Kirk, Experimental Design, 2013, section 8). Blocks are the independent units that the bootstrap draws.

With few blocks a percentile interval is too narrow. Its tails are widened to the level at which the same
rule would be exact for a normal mean (expanded percentile interval: Hesterberg, "What Teachers Should Know
About the Bootstrap", The American Statistician 69, 2015, section 4.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Answer = Literal["yes", "no", "undecided"]

RESAMPLES = 2000  # the interval's ends move by less than a tenth of its width between seeds
CONFIDENCE = 0.95

# pyperf's rules for an unstable benchmark (pyperf 2.9, _cli.py, format_checks), applied to the medians of
# rounds: one slow inference among thousands is what percentiles are for.
UNSTABLE_SPREAD = 0.10  # standard deviation / mean
UNSTABLE_EXTREME = 0.50  # a round this far off the mean
SHORTEST_MS = 0.002  # the clock and the call cost 0.1 to 0.2 us: 5 to 10 % of less than this


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def percentile(samples: Sequence[float] | Floats, level: float) -> float:
    """The ``level``-th percentile (0 to 100), linear between neighbours; ``samples`` is not empty."""
    return float(np.percentile(np.asarray(samples, np.float64), level))


def settled(medians: Sequence[float], *, window: int = 3, tolerance: float = 0.05) -> bool:
    """Whether the last ``window`` medians lie within ``tolerance`` of each other: warm-up is over."""
    last = medians[-window:]
    return len(last) == window and max(last) <= min(last) * (1 + tolerance)


def median_interval(rounds: Sequence[float], *, seed: int) -> Interval:
    """The median of the medians of rounds, with its interval."""
    values = np.asarray(rounds, np.float64)
    return _bootstrap_median(values, seed=seed)


def launch_interval(launches: Sequence[Sequence[float]], *, seed: int) -> Interval:
    """The median of the medians of launches, from the medians of their rounds.

    Two levels are drawn with replacement: launches, then rounds within each drawn one. What differs between
    processes for as long as they live is thereby in the interval (Kalibera and Jones, "Rigorous Benchmarking
    in Reasonable Time", ISMM 2013; bootstrap of clusters: Davison and Hinkley, 1997, section 3.8).

    Args:
        launches: one median for each round, of each launch; two launches at least.
        seed: of the bootstrap.
    """
    n, most = len(launches), max(map(len, launches))
    table = np.full((n, most), np.nan)
    for row, values in zip(table, launches, strict=True):
        row[: len(values)] = values
    lengths = np.asarray([len(each) for each in launches])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, n, (RESAMPLES, n))
    rounds = (rng.random((RESAMPLES, n, most)) * lengths[drawn][..., None]).astype(np.int64)
    medians = np.median(table[drawn[..., None], rounds], axis=2)
    found = np.median(medians, axis=1)
    value = float(np.median([np.median(each) for each in launches]))
    tail = _expanded_tail(n)
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def ratio_interval(candidate: Sequence[float], baseline: Sequence[float], *, seed: int) -> Interval:
    """Candidate over baseline from the medians of rounds, paired by round; the formula is in the module.

    Args:
        candidate: one median for each round, in the order in which the rounds ran.
        baseline: likewise; an even number of rounds, the order within a pair reversed by the caller.
        seed: of the bootstrap.

    Raises:
        ValueError: lengths differ, are odd or zero, or a median is not positive.
    """
    if len(candidate) != len(baseline) or not candidate or len(candidate) % 2:
        message = f"{len(candidate)} and {len(baseline)} rounds: an equal, even number is needed"
        raise ValueError(message)
    if min(*candidate, *baseline) <= 0:
        message = "a median of 0 ms has no ratio"
        raise ValueError(message)
    logs = np.log(np.asarray(candidate, np.float64) / np.asarray(baseline, np.float64))
    found = _bootstrap_median(logs.reshape(-1, 2).mean(axis=1), seed=seed)
    return Interval(math.exp(found.value), math.exp(found.low), math.exp(found.high))


def not_slower(ratio: Interval, *, limit: float) -> Answer:
    """Whether ``ratio`` is at most ``limit``, judged by the interval's bounds.

    "yes": the whole interval is; "no": none of it is; "undecided": the limit lies inside.
    """
    if ratio.high <= limit:
        return "yes"
    return "no" if ratio.low > limit else "undecided"


_PLURAL = {"round": "rounds", "launch": "launches"}


def instability(rounds: Sequence[float], *, of: Literal["round", "launch"] = "round") -> str:
    """Why the medians of rounds, or ``of`` launches, in milliseconds cannot be relied on; "" = they can."""
    values = np.asarray(rounds, np.float64)
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) / mean if len(values) > 1 else math.inf
    extreme = float(np.abs(values / mean - 1).max())
    reasons = []
    if spread > UNSTABLE_SPREAD:
        reasons.append(f"the standard deviation between {_PLURAL[of]} is {spread:.0%} of the mean")
    if extreme > UNSTABLE_EXTREME:
        reasons.append(f"one {of} is {extreme:.0%} off the mean")
    if mean < SHORTEST_MS:
        reasons.append(f"an inference takes {mean * 1e3:.2g} us, too short for the clock")
    return "; ".join(reasons)


def _bootstrap_median(values: Floats, *, seed: int) -> Interval:
    """Median of ``values``: (n,), with its expanded percentile interval."""
    n = len(values)
    value = float(np.median(values))
    if n == 1:
        return Interval(value, -math.inf, math.inf)
    draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    medians = np.median(values[draws], axis=1)
    tail = _expanded_tail(n)
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def _expanded_tail(n: int) -> float:
    """The tail to cut on either side so that ``n`` values give ``CONFIDENCE``: Phi(-sqrt(n/(n-1)) t)."""
    t = student_quantile((1 + CONFIDENCE) / 2, n - 1)
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * t)


def student_quantile(level: float, degrees: int) -> float:
    """Student's t by its expansion around the normal (Abramowitz and Stegun, 26.7.5); 3 digits from 4 on."""
    z = NormalDist().inv_cdf(level)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
