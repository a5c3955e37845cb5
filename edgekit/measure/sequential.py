"""Process pairs, one after another -> faster, slower or undecided, and how many more would decide.

    d_i = median over the rounds of pair i of log(candidate / baseline)
    T_n = sum over i <= n of sign(d_i) s_i,   s_i = min(|d_i|, 2 scale of |d|)
    slower: T_n >= c_n, faster: T_n <= -c_n, after any pair from the sixth on

The unit of replication is the pair of fresh processes: a process is a few per cent faster or slower than its
twin for as long as it lives, and no number of rounds averages that out (Kalibera and Jones, "Rigorous
Benchmarking in Reasonable Time", ISMM 2013: repeat at the highest level that varies).

Size. If both are one program, every d_i has either sign with equal chance, given all that the machine did:
which of two equal processes bears which name changes nothing, and their order is drawn. So c_n comes from
8,192 drawn sequences of signs: of those that have not crossed at an earlier look, so many may cross now
that a share alpha (n / N)^1.5 has crossed in all. Tails, outliers and drift do not matter to that, and a
look after every pair is honest (permutation of signs: Fisher, The Design of Experiments, 1935, section 21;
alpha spending: Lan and DeMets, Biometrika 70, 1983; power family: Kim and DeMets, Biometrika 74, 1987). N is
planned again after every pair from the |d_i| alone; they say nothing about the signs, so the size stays
(blinded re-estimation: Gould and Shih, Communications in Statistics 21, 1992).

Estimate. Huber's M-estimate of location (Annals of Mathematical Statistics 35, 1964), bend at 2: 1 % less
efficient than the mean for normal noise, and a stalled process counts as two standard deviations. Its
interval holds every ratio that the test would not reject at this look (repeated confidence interval: Jennison
and Turnbull, JRSS B 51, 1989), so it excludes 1 exactly where there is a verdict. An early end favours large
estimates a little; the interval allows for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekit.measure.statistics import Interval, student_quantile

Floats = npt.NDArray[np.float64]
Verdict = Literal["faster", "slower", "undecided"]

ALPHA = 0.04  # two-sided; not 0.05: of a thousand trials of equals at most 50 are to be false, by chance too
POWER = 0.95  # of differences as large as planned for, found by the planned number of pairs
FIRST_LOOK = 6  # five pairs of one sign have a probability of 0.06 by chance: no verdict is possible
SPENDING = 1.5  # exponent: 1 spends early and costs pairs in the end, 3 hardly allows an early end
SEQUENCES = 8192  # of drawn signs
DRAWN = 0.96  # of alpha is spent: a share of drawn sequences differs from that of all by a twentieth of it
LOOK_EVERY = 8  # from 16 pairs on every second, from 24 every third: the others would decide little earlier
RESOLVED = math.log(1.05)  # the difference that a run is planned to find
BEND = 2.0  # of Huber's estimate, in standard deviations
LEAST_PLANNED = 12  # pairs before two are called undecided: six show nothing of an outlier in ten
CAUTION = 1.5  # a spread known from n pairs may be larger by CAUTION / sqrt(n); bench_power holds the power
LOOKS = 1.1  # what the looks cost, in pairs
MOST_PAIRS = 10_000  # "more than that" is no plan


@dataclass(frozen=True, slots=True)
class Decision:
    """What the pairs so far say.

    Attributes:
        verdict: of the candidate against the baseline.
        ratio: estimate and interval; the interval excludes 1 exactly where the verdict is not "undecided".
        spread: standard deviation of a pair's log ratio, robust: 0.1 = 10 %.
        pairs: that it rests on.
        resolution: the logarithm of the smallest ratio that so many pairs find in 95 % of cases.
        more: pairs beyond these with which a run would decide in 95 % of cases if the difference is what it
            looks like; None where decided, or where there are less than two pairs.
    """

    verdict: Verdict
    ratio: Interval
    spread: float
    pairs: int
    resolution: float
    more: int | None


class Trial:
    """The test of one candidate against the baseline; ``take`` is a look."""

    def __init__(self, *, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._signs: npt.NDArray[np.float32] = np.empty((SEQUENCES, 0), np.float32)
        self._alive = np.ones(SEQUENCES, bool)
        self._spent = 0.0
        self._due = 0.0
        self._values: list[float] = []
        self._verdict: Verdict = "undecided"
        self._allowed = 0  # sequences that may cross at the last look; 0 also where none can
        self._last = (0, 0.0)  # pairs and share of alpha at the last look
        self._looked_at = self._alive

    @property
    def pairs(self) -> int:
        """How many were taken."""
        return len(self._values)

    @property
    def decided(self) -> bool:
        """Whether there is a verdict; it stands."""
        return self._verdict != "undecided"

    @property
    def planned(self) -> int:
        """Pairs that find ``RESOLVED`` in 95 % of cases, by the noise so far."""
        return pairs_needed(RESOLVED, blinded_spread(self._values), pairs=self.pairs)

    def take(self, log_ratio: float) -> None:
        """One more pair; after a verdict it is passed over."""
        if self._verdict == "undecided":
            self._values.append(log_ratio)

    def look(self, planned: int) -> None:
        """Decide, if the pairs so far allow it.

        Args:
            planned: pairs that the run will have at most; it must not depend on who looks faster.
        """
        if self._verdict == "undecided" and self.pairs >= self._last[0] + max(1, self._last[0] // LOOK_EVERY):
            self._look(planned)

    def finish(self) -> None:
        """The last look, at which all that is left of alpha is spent: time or pairs are up."""
        if self._verdict == "undecided" and self._last != (self.pairs, DRAWN):
            self._look(self.pairs)

    def decision(self) -> Decision:
        """What the pairs say at the last look.

        Raises:
            ValueError: there is none.
        """
        if not self._values:
            message = "a decision needs one pair at least"
            raise ValueError(message)
        values = np.asarray(self._values, np.float64)
        value, spread, verdict = location(values), blinded_spread(self._values), self._verdict
        more = None
        if verdict == "undecided" and self.pairs > 1:
            more = max(1, pairs_needed(abs(value), spread, pairs=self.pairs) - self.pairs)
        low, high = self._bounds(values, value, verdict)
        ratio = Interval(math.exp(value), math.exp(low), math.exp(min(high, _LARGEST_LOG)))
        return Decision(verdict, ratio, spread, self.pairs, resolved(self.pairs, spread), more)

    def _bounds(self, values: Floats, value: float, verdict: Verdict) -> tuple[float, float]:
        n = len(values)
        if n < 2:
            return -math.inf, math.inf
        reach = student_quantile(1 - ALPHA / 2, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
        low, high = value - reach, value + reach
        if n >= FIRST_LOOK and self._allowed:
            low, high = (self._bound(values, value, side * max(reach, 1e-9)) for side in (-1, 1))
        if n >= FIRST_LOOK and verdict == "undecided":  # no bound may stand for a verdict that there is not
            low, high = min(0.0, low), max(0.0, high)
        if verdict != "undecided":
            low, high = (max(low, 1e-9), high) if value > 0 else (low, min(high, -1e-9))
        return low, high

    def _bound(self, values: Floats, value: float, step: float) -> float:
        """The farthest ratio from ``value`` towards ``step`` that is not rejected, to 1 % of ``step``."""
        inside, outside = value, value + step
        while not self._rejects(values - outside):
            inside, outside = outside, outside + 2 * (outside - value)
            if abs(outside) > _LARGEST_LOG:
                return math.copysign(_LARGEST_LOG, step)
        while abs(outside - inside) > 0.01 * abs(step):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if self._rejects(values - middle) else (middle, outside)
        return outside

    def _look(self, planned: int) -> None:
        """Spend up to ``ALPHA (n / planned)^SPENDING``; a sequence that crosses c_n takes part no longer."""
        if self.pairs < FIRST_LOOK:
            return
        values = np.asarray(self._values, np.float64)
        self._draw(len(values))
        share = self._share(planned)
        self._last = (self.pairs, share)
        self._due = max(self._due, ALPHA * share)
        self._allowed = int((self._due - self._spent) * SEQUENCES + 1e-9)
        self._looked_at = self._alive.copy()
        sums = self._sums(values)
        critical = _critical(sums[self._looked_at], self._allowed)
        crossed = self._looked_at & (sums >= critical)
        self._pay(crossed)
        if not math.isfinite(critical):
            self._allowed = 0
        elif _reaches(values, critical):
            self._verdict = "slower" if location(values) > 0 else "faster"

    def _share(self, planned: int) -> float:
        """Of alpha that may be spent up to now."""
        spent: float = min(1.0, self.pairs / planned) ** SPENDING
        return DRAWN * spent

    def _pay(self, crossed: npt.NDArray[np.bool_]) -> None:
        """A sequence that has crossed was a false verdict: it is spent, and crosses no second time."""
        self._spent += float(crossed.sum()) / SEQUENCES
        self._alive &= ~crossed

    def _sums(self, values: Floats) -> Floats:
        """|T_n| of every drawn sequence, for the sizes of ``values``."""
        scores = _scores(values)
        return np.abs(self._signs[:, : len(scores)] @ np.abs(scores).astype(np.float32)).astype(np.float64)

    def _rejects(self, values: Floats) -> bool:
        """Whether the signs of ``values`` are too one-sided at the last look."""
        return _reaches(values, _critical(self._sums(values)[self._looked_at], self._allowed))

    def _draw(self, count: int) -> None:
        """Signs for ``count`` pairs; every sequence has its opposite."""
        missing = count - self._signs.shape[1]
        if missing > 0:
            half = self._rng.integers(0, 2, (SEQUENCES // 2, missing)) * 2 - 1
            self._signs = np.hstack([self._signs, np.vstack([half, -half]).astype(np.float32)])


def blinded_spread(values: Sequence[float]) -> float:
    """Standard deviation of a pair's log ratio from absolute values alone; 0 for less than two.

    The size about 0, which a true difference makes larger; where that is plain (their median is three times
    their spread), the spread of the absolute values about their median, which is never above the true one by
    more than the 1 / 0.6 of values that straddle 0.
    """
    if len(values) < 2:
        return 0.0
    sizes = np.abs(np.asarray(values, np.float64))
    middle = float(np.median(sizes))
    around = _size(sizes - middle)
    return min(_size(sizes), around / 0.6) if middle > 3 * around else _size(sizes)


def pairs_needed(difference: float, spread: float, *, pairs: int) -> int:
    """Pairs that find ``difference`` (of logarithms) in ``POWER`` of cases; at least ``LEAST_PLANNED``.

    (z(alpha/2) + z(power))^2 (spread / difference)^2, times what the looks cost; ``spread`` is known from
    ``pairs`` of them only, so its upper bound counts: spread (1 + CAUTION / sqrt(pairs)).
    """
    if difference <= 0:
        return MOST_PAIRS
    found = (resolved(1, spread, known_from=pairs) / difference) ** 2
    return max(LEAST_PLANNED, math.ceil(min(MOST_PAIRS, found)))


def resolved(pairs: int, spread: float, *, known_from: int = 0) -> float:
    """The difference (of logarithms) that ``pairs`` find in ``POWER`` of cases; as ``pairs_needed``."""
    z = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)
    upper = spread * (1 + CAUTION / math.sqrt(known_from or pairs))
    return z * upper * math.sqrt(LOOKS / pairs)


def location(values: Floats) -> float:
    """Huber's estimate: the root of sum psi(values - t), from the median on."""
    found = float(np.median(values))
    bend = BEND * _scale(values - found)
    if bend == 0:
        return found if float(np.ptp(values)) == 0 else float(values.mean())
    for _ in range(50):
        moved = float(np.clip(values - found, -bend, bend).mean())
        found += moved
        if abs(moved) < 1e-7:
            break
    return found


def _scale(values: Floats) -> float:
    """Standard deviation about 0 by the upper quartile, which outliers do not move, nor zeros up to half."""
    return float(np.quantile(np.abs(values), 0.75)) / 1.15  # 1.15: of |normal|


def _scores(values: Floats) -> Floats:
    bend = BEND * _scale(values)
    return np.clip(values, -bend, bend) if bend > 0 else values


def _size(values: Floats) -> float:
    """Spread of Huber's estimate times sqrt(n): rms of the scores over the share that is not bent."""
    scores = _scores(values)
    kept = float(np.mean(scores == values))
    return float(np.sqrt(np.mean(scores**2))) / max(kept, 0.5)


def _reaches(values: Floats, critical: float) -> bool:
    """Whether |T_n| crosses; sums are of single precision: what is equal must not be told apart."""
    return abs(float(_scores(values).sum())) >= critical * (1 - _EQUAL)


def _critical(sums: Floats, allowed: int) -> float:
    """The least value that no more than ``allowed`` of ``sums`` reach; infinite where there is none."""
    if not allowed:
        return math.inf
    if allowed >= len(sums):
        return float(sums.min())
    bound = float(np.partition(sums, len(sums) - 1 - allowed)[len(sums) - 1 - allowed])
    reached = sums[sums > bound * (1 + _EQUAL)]  # of equal ones all cross, or none
    return float(reached.min()) if len(reached) else math.inf


_EQUAL = 1e-5
_LARGEST_LOG = 20.0  # a ratio beyond 5e8 is none
