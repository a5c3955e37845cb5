"""Turns of a run without a pause -> minutes, and whether the machine held its speed.

    throttle factor = median of the steady minutes / median of the first minute

Steady are the last third of the whole minutes, one at least; a turn is a twelfth of a minute, and turns are
what the interval is drawn from. Turns that follow each other are alike, so it is narrow: the verdict leaves
room for that with LIMIT.

G1 "throttled": the whole interval is above LIMIT · G2 "steady": all of it is at most LIMIT · G3 "undecided":
LIMIT is inside · G4 fewer than two whole minutes: no factor, no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekit.measure import agent
from edgekit.measure.conditions import Reading
from edgekit.measure.level_ratio import level_ratio
from edgekit.measure.statistics import Interval

LIMIT = 1.05  # times the first minute: what two processes of one file differ by anyway
LEAST_MINUTES = 2
IDLE_S = 3.0  # of rest before, where there is a meter: 3,000 updates of RAPL, three of a battery's gauge

Held = Literal["throttled", "steady", "undecided", ""]


@dataclass(frozen=True)
class Plan:
    """How long, and what a minute is (tests take shorter ones)."""

    minutes: int
    minute_s: float = 60.0
    idle_s: float = IDLE_S

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.minutes * self.minute_s + self.idle_s


@dataclass(frozen=True)
class Turn:
    """A twelfth of a minute.

    Attributes:
        minute: from 0.
        seconds: how long it took; ``runs`` inferences.
        samples_ms: some of them, evenly over time.
        reading: of the machine at its end.
    """

    minute: int
    seconds: float
    runs: int
    samples_ms: tuple[float, ...]
    reading: Reading


@dataclass(frozen=True)
class Minute:
    """One minute of a run.

    Attributes:
        whole: whether all of its turns are there.
        per_s: inferences per second.
        frequency_mhz: median of the readings; temperature_c the highest. None without a sensor.
    """

    index: int
    whole: bool
    runs: int
    p50_ms: float
    p95_ms: float
    per_s: float
    frequency_mhz: float | None
    temperature_c: float | None


def minutes(turns: Sequence[Turn], *, minute_s: float) -> tuple[Minute, ...]:
    """Minute by minute; one that an inference longer than a minute passed over is left out."""
    indices = sorted({turn.minute for turn in turns})
    return tuple(_minute(index, [t for t in turns if t.minute == index], minute_s) for index in indices)


def factor(turns: Sequence[Turn], *, minute_s: float, seed: int) -> Interval | None:
    """The throttle factor with its interval; None for G4."""
    whole = [each.index for each in minutes(turns, minute_s=minute_s) if each.whole]
    if len(whole) < LEAST_MINUTES:
        return None
    steady = set(whole[-max(1, len(whole) // 3) :])
    medians = [(turn.minute, float(np.median(turn.samples_ms))) for turn in turns]
    first = np.asarray([median for minute, median in medians if minute == whole[0]])
    last = np.asarray([median for minute, median in medians if minute in steady])
    return level_ratio(first, last, rng=np.random.default_rng(seed))


def held(found: Interval | None) -> Held:
    """G1 to G4."""
    if found is None:
        return ""
    if found.low > LIMIT:
        return "throttled"
    return "steady" if found.high <= LIMIT else "undecided"


def _minute(index: int, turns: Sequence[Turn], minute_s: float) -> Minute:
    samples = np.concatenate([np.asarray(turn.samples_ms) for turn in turns])
    seconds = sum(turn.seconds for turn in turns)
    clocks = [turn.reading.frequency_mhz for turn in turns if turn.reading.frequency_mhz is not None]
    heat = [turn.reading.temperature_c for turn in turns if turn.reading.temperature_c is not None]
    p50, p95 = np.percentile(samples, [50, 95])
    runs = sum(turn.runs for turn in turns)
    return Minute(
        index=index,
        whole=seconds >= minute_s * (1 - 1.5 / agent.TURNS),  # a turn may begin late and end beyond
        runs=runs,
        p50_ms=float(p50),
        p95_ms=float(p95),
        per_s=runs / seconds,
        frequency_mhz=float(np.median(clocks)) if clocks else None,
        temperature_c=max(heat, default=None),
    )
