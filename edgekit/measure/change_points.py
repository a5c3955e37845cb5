"""Figures of many runs, in order -> where their level changed, and where it only looks so.

    clip(log x)  ->  max over intervals and places of |mean right - mean left| sqrt(a b / (a + b))
                 ->  its rank among 999 shuffles  ->  split there, and look at both parts again

H1 the largest difference over *seeded* intervals, so that a regression that was mended does not hide in the
mean of everything: Kovacs, Buehlmann, Li and Munk, "Seeded binary segmentation", Biometrika 110, 2023 ·
H2 the permutation test of Matteson and James, "A nonparametric approach for multiple change point analysis
of multivariate data", JASA 109, 2014, as MongoDB uses it (Daly et al., "The Use of Change Point Detection to
Identify Software Performance Regressions in a Continuous Integration System", ICPE 2020): pure noise, of
whatever distribution, gives a false alarm in LEVEL of cases · H3 values are clipped at CLIP robust standard
deviations first, so that one outlier is no change · H4 a level has SHORTEST runs at least · H5 each place is
at last the best one between its neighbours.

Runs are taken as exchangeable within a level. A machine whose speed drifts for days is not: that is a change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.measure.level_ratio import level_ratio

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

LEVEL = 0.01  # of false alarms for a series of pure noise
SHUFFLES = 999  # p-values down to 0.001
SHORTEST = 3  # runs: two outliers in a row are no level
CLIP = 2.5  # robust standard deviations; 1 % of a normal's values lie outside
SHRINK = 1 / math.sqrt(2)  # from one length of seeded intervals to the next (Kovacs et al., recommended)
_AT_ONCE = 4_000_000  # numbers of one block of shuffles: 32 MB


@dataclass(frozen=True, slots=True)
class Change:
    """One change of level.

    Attributes:
        index: of the first run of the new level.
        p_value: how often shuffled runs look as different.
        before: median of the level before; after of the one that begins here.
        ratio: after over before; ``low`` to ``high`` is its 95 % interval.
    """

    index: int
    p_value: float
    before: float
    after: float
    ratio: float
    low: float
    high: float


def changes(values: Sequence[float] | Floats, *, seed: int) -> tuple[Change, ...]:
    """Where the level of ``values`` changed, in order.

    Args:
        values: positive, one for each run.
        seed: of the shuffles and of the intervals.

    Raises:
        ValueError: a value is not positive or not finite.
    """
    given = np.asarray(values, np.float64)
    if len(given) and not (np.isfinite(given).all() and (given > 0).all()):
        message = "a change of level is looked for in positive numbers"
        raise ValueError(message)
    logs = np.log(given)
    rng = np.random.default_rng(seed)
    found = dict(_split(logs, 0, len(logs), rng))
    places = _moved(logs, sorted(found))
    p_values = [found[place] for place in sorted(found)]
    ends = [0, *places, len(logs)]
    return tuple(
        _described(place, p, given[ends[i] : place], given[place : ends[i + 2]], rng)
        for i, (place, p) in enumerate(zip(places, p_values, strict=True))
    )


def _split(logs: Floats, begin: int, end: int, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Places and p-values within ``begin`` to ``end``; each part is looked at again."""
    if end - begin < 2 * SHORTEST:
        return []
    part = _clipped(logs[begin:end])
    candidates = _candidates(len(part))
    (observed,), (best,) = _largest(part[None], candidates)
    p_value = (1 + _exceeding(part, float(observed), candidates, rng)) / (1 + SHUFFLES)
    if p_value > LEVEL:
        return []
    place = begin + int(candidates[1][best])
    return [*_split(logs, begin, place, rng), (place, p_value), *_split(logs, place, end, rng)]


def _clipped(logs: Floats) -> Floats:
    """H3: within CLIP times 1.4826 MAD of the median (equal to a standard deviation for a normal)."""
    middle = np.median(logs)
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    if spread == 0:  # more than half are equal: then nothing tells an outlier from a level
        return logs
    clipped: Floats = np.clip(logs, middle - CLIP * spread, middle + CLIP * spread)
    return clipped


def _candidates(n: int) -> tuple[Places, Places, Places]:
    """H1: begin, place and end of everything that is looked at in ``n`` runs."""
    rows = []
    length = float(n)
    while length >= 2 * SHORTEST:
        count = max(1, 2 * math.ceil(n / length) - 1)
        size = math.ceil(length)
        for begin in sorted({round(each) for each in np.linspace(0, n - size, count)}):
            end = begin + size
            rows += [(begin, place, end) for place in range(begin + SHORTEST, end - SHORTEST + 1)]
        length *= SHRINK
    begins, places, ends = np.asarray(rows, np.int64).T
    return begins, places, ends


def _largest(rows: Floats, candidates: tuple[Places, Places, Places]) -> tuple[Floats, Places]:
    """The largest statistic of each of ``rows``: (m, n), and which candidate it is."""
    begins, places, ends = candidates
    sums = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)], axis=1)
    left, right = places - begins, ends - places
    difference = (sums[:, ends] - sums[:, places]) / right - (sums[:, places] - sums[:, begins]) / left
    statistic = np.abs(difference) * np.sqrt(left * right / (left + right))
    best = statistic.argmax(axis=1)
    return statistic[np.arange(len(rows)), best], best


def _exceeding(
    part: Floats, observed: float, candidates: tuple[Places, Places, Places], rng: np.random.Generator
) -> int:
    """H2: how many of SHUFFLES shuffles look as different; rounding of the sums does not decide."""
    size = max(1, min(SHUFFLES, _AT_ONCE // max(1, len(candidates[0]))))
    count = 0
    for begin in range(0, SHUFFLES, size):
        rows = rng.permuted(np.tile(part, (min(size, SHUFFLES - begin), 1)), axis=1)
        count += int((_largest(rows, candidates)[0] >= observed * (1 - 1e-9)).sum())
    return count


def _moved(logs: Floats, places: list[int]) -> list[int]:
    """H5."""
    moved = list(places)
    for i in range(len(moved)):
        begin = moved[i - 1] if i else 0
        end = moved[i + 1] if i + 1 < len(moved) else len(logs)
        inner = np.arange(SHORTEST, end - begin - SHORTEST + 1)
        ends = np.full_like(inner, end - begin)
        _, (best,) = _largest(_clipped(logs[begin:end])[None], (np.zeros_like(inner), inner, ends))
        moved[i] = begin + int(inner[best])
    return moved


def _described(place: int, p_value: float, before: Floats, after: Floats, rng: np.random.Generator) -> Change:
    found = level_ratio(before, after, rng=rng)
    old, new = float(np.median(before)), float(np.median(after))
    return Change(place, p_value, old, new, found.value, found.low, found.high)
