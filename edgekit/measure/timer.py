"""Sessions, interleaved -> latencies and ratios with intervals.

    warm up each (until its running median settles)  ->  rounds: A B | B A | A B | ...  ->  statistics

Each session runs in its own process and is timed there by a monotonic clock. A round lasts a target time, so
that the clock's resolution and the first inference after a change of session do not matter; what disturbs
the machine for longer than a round hits both sides. All samples are kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.errors import InputError, UnknownNameError
from edgekit.measure import statistics
from edgekit.measure.sequential import Decision
from edgekit.measure.statistics import Answer
from edgekit.spec import Feeds, Progress, Session, Silent

Rounds = Sequence[
    tuple[float, ...]
]  # samples in milliseconds by round, in the order in which they were taken

NOT_SLOWER_LIMIT = 1.05  # two builds of one program in two processes differ by some per cent by themselves
ROUNDS = 20  # ten blocks of ABBA: enough for an interval, 1.2 s for two small models
ROUND_MS = 30.0  # 150 times what the way to a worker and back costs (0.2 ms)
FEWEST_ROUNDS = 10  # five blocks; in simulation three miss the true ratio in 28 % of cases, five in 5 %
MOST_RUNS = 500  # in a round: keeps the raw samples of a 20 us model below 10,000
LEAD_IN_FROM = 4  # runs in a round from which the first, with cold caches, is left out

WARM_UP_WINDOWS = 40  # at most; a window is at least WINDOW_MS long
WARM_UP_MS = 1500.0  # at most, once the first three windows are there
WINDOW_MS = 5.0


@dataclass(frozen=True)
class Latency:
    """One artifact's steady state in milliseconds for one inference.

    Attributes:
        p50_ms: median of all samples; ``low_ms`` to ``high_ms`` is its 95 % interval.
        p90_ms: 90th percentile; p95_ms and p99_ms likewise.
        low_ms: lower bound of the interval of the median.
        high_ms: upper bound.
        runs: number of samples.
        stable: whether ``warning`` is empty.
        warning: why the figures should not be relied on.
        raw_ms: every sample, in the order in which they were taken.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    low_ms: float
    high_ms: float
    runs: int
    stable: bool
    warning: str
    raw_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median latency over the baseline's: below 1 is faster; ``low`` to ``high`` is its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What was found, by artifact name.

    Attributes:
        decisions: of a run of several launches, what its pairs say of each candidate (``replicate``).
    """

    latencies: Mapping[str, Latency]
    ratios: Mapping[str, Ratio]
    baseline: str
    decisions: Mapping[str, Decision] = field(default_factory=dict)

    def not_slower(self, name: str, limit: float = NOT_SLOWER_LIMIT) -> Answer:
        """Whether ``name`` takes at most ``limit`` times the baseline's time, by the interval's bounds.

        "undecided" where ``limit`` lies inside the interval. The baseline itself is "yes".

        Raises:
            UnknownNameError: ``name`` was not measured.
        """
        if name not in self.ratios:
            raise UnknownNameError("session", name, self.ratios, listing="edgekit bench --help")
        ratio = self.ratios[name]
        interval = statistics.Interval(ratio.value, ratio.low, ratio.high)
        return statistics.not_slower(interval, limit=limit)


@dataclass(frozen=True)
class _Plan:
    """How one session is sampled: runs in each round, and what its warm-up complained about."""

    runs: int
    warning: str


def compare(
    sessions: Mapping[str, Session],
    feeds: Feeds,
    *,
    baseline: str,
    seed: int,
    rounds: int = ROUNDS,
    round_ms: float = ROUND_MS,
    progress: Progress | None = None,
) -> Comparison:
    """Time ``sessions`` on the same ``feeds``, interleaved.

    Args:
        sessions: open sessions by name, each in its own process.
        feeds: one batch in the reference's terms; its batch size is the batch that is measured.
        baseline: the name that ratios refer to.
        seed: of the bootstrap.
        rounds: at least 10; an odd number is made even.
        round_ms: what one session's turn should last.
        progress: told once for each round.

    Raises:
        UnknownNameError: ``baseline`` is not among the sessions.
        InputError: fewer than 10 rounds.
        DataError, BackendCrashError: as ``Session.time_ms``.
    """
    if baseline not in sessions:
        raise UnknownNameError("baseline", baseline, sessions, listing="edgekit bench --help")
    if rounds < FEWEST_ROUNDS:
        raise InputError(
            f"{rounds} rounds are too few",
            why=f"an interval needs {FEWEST_ROUNDS // 2} blocks of two rounds at least",
            remedy=f"give rounds >= {FEWEST_ROUNDS} (default {ROUNDS})",
        )
    rounds += rounds % 2
    progress = progress or Silent()
    progress.stage(f"timing {', '.join(sessions)}", total=rounds)
    taken = take_rounds(sessions, feeds, rounds=rounds, round_ms=round_ms, progress=progress)
    return summarize(taken.samples, taken.warnings, baseline=baseline, seed=seed)


@dataclass(frozen=True)
class Taken:
    """What one process of each artifact gave.

    Attributes:
        samples: milliseconds by name and round, in the order in which they were taken.
        warnings: by name, what its warm-up complained about; "" = nothing.
    """

    samples: Mapping[str, Rounds]
    warnings: Mapping[str, str]


def take_rounds(
    sessions: Mapping[str, Session], feeds: Feeds, *, rounds: int, round_ms: float, progress: Progress
) -> Taken:
    """Warm each session up, then time them A B | B A | ..., in the mapping's order first."""
    plans = {name: _warm_up(session, feeds, round_ms=round_ms) for name, session in sessions.items()}
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in sessions}
    forward = tuple(sessions)
    for index in range(rounds):
        for name in forward if index % 2 == 0 else forward[::-1]:
            samples[name].append(_one_round(sessions[name], feeds, plans[name].runs))
        progress.advance()
    return Taken(samples, {name: plan.warning for name, plan in plans.items()})


def summarize(
    samples: Mapping[str, Rounds],
    warnings: Mapping[str, str],
    *,
    baseline: str,
    seed: int,
) -> Comparison:
    """Samples by name and round -> latencies, and ratios where enough rounds of both sides are there.

    Args:
        samples: one tuple for each round, in the order of the rounds; not empty. A run that broke off has
            fewer rounds, of some names more than of others.
        warnings: what the warm-up of each complained about.
        baseline: the name that ratios refer to; without samples of it there are none.
        seed: of the bootstrap.
    """
    medians = {name: [statistics.percentile(round_, 50) for round_ in rows] for name, rows in samples.items()}
    against = medians.get(baseline, [])
    common = {name: min(len(own), len(against)) // 2 * 2 for name, own in medians.items()}  # whole blocks
    return Comparison(
        latencies={
            name: _latency(samples[name], medians[name], warnings.get(name, ""), seed=seed)
            for name in samples
        },
        ratios={
            name: _ratio(medians[name][:rounds], against[:rounds], seed=seed)
            for name, rounds in common.items()
            if rounds >= FEWEST_ROUNDS
        },
        baseline=baseline,
    )


def _warm_up(session: Session, feeds: Feeds, *, round_ms: float) -> _Plan:
    """Run until the median of windows settles, at most for the budget; then plan the rounds."""
    (first,) = session.time_ms(feeds, runs=1)
    window = _runs_in(WINDOW_MS, first)
    medians: list[float] = []
    spent = 0.0
    while not statistics.settled(medians):
        samples = session.time_ms(feeds, runs=window)
        spent += sum(samples)
        medians.append(statistics.percentile(samples, 50))
        window = _runs_in(WINDOW_MS, medians[-1])
        if len(medians) >= WARM_UP_WINDOWS or (spent > WARM_UP_MS and len(medians) > 2):
            break
    warning = "" if statistics.settled(medians) else "the median did not settle during warm-up"
    return _Plan(_runs_in(round_ms, medians[-1]), warning)


def _runs_in(target_ms: float, median_ms: float) -> int:
    """How many inferences of ``median_ms`` last ``target_ms``, within 1 and MOST_RUNS."""
    if median_ms <= 0:
        return MOST_RUNS
    return max(1, min(MOST_RUNS, math.ceil(target_ms / median_ms)))


def _one_round(session: Session, feeds: Feeds, runs: int) -> tuple[float, ...]:
    if runs < LEAD_IN_FROM:
        return session.time_ms(feeds, runs=runs)
    return session.time_ms(feeds, runs=runs + 1)[1:]


def latency_of(launches: Sequence[Rounds], *, warning: str, seed: int) -> Latency:
    """Several processes of one artifact -> its latency; the interval is over processes, not over rounds.

    Args:
        launches: the rounds of each process; one process has the interval over its rounds.
        warning: what the warm-ups complained about.
        seed: of the bootstrap.
    """
    medians = [[statistics.percentile(each, 50) for each in rounds] for rounds in launches if rounds]
    if len(medians) == 1:
        return _latency(next(each for each in launches if each), medians[0], warning, seed=seed)
    interval = statistics.launch_interval(medians, seed=seed)
    typical = [statistics.percentile(each, 50) for each in medians]
    unstable = statistics.instability(typical, of="launch")
    raw = tuple(sample for rounds in launches for row in rounds for sample in row)
    return _figures(raw, interval, "; ".join(filter(None, (warning, unstable))))


def _latency(rows: Rounds, medians: list[float], warm_up: str, *, seed: int) -> Latency:
    raw = tuple(sample for row in rows for sample in row)
    p50 = statistics.percentile(raw, 50)
    if len(rows) > 1:
        interval = statistics.median_interval(medians, seed=seed)
        unstable = statistics.instability(medians)
    else:  # of a run that broke off
        interval = statistics.Interval(p50, min(raw), max(raw))
        unstable = "one round is no interval: the bounds are the least and the largest sample"
    return _figures(raw, interval, "; ".join(filter(None, (warm_up, unstable))))


def _figures(raw: tuple[float, ...], interval: statistics.Interval, warning: str) -> Latency:
    p50 = statistics.percentile(raw, 50)
    return Latency(
        p50_ms=p50,
        p90_ms=statistics.percentile(raw, 90),
        p95_ms=statistics.percentile(raw, 95),
        p99_ms=statistics.percentile(raw, 99),
        low_ms=min(p50, interval.low),
        high_ms=max(p50, interval.high),
        runs=len(raw),
        stable=not warning,
        warning=warning,
        raw_ms=raw,
    )


def _ratio(candidate: list[float], baseline: list[float], *, seed: int) -> Ratio:
    found = statistics.ratio_interval(candidate, baseline, seed=seed)
    return Ratio(found.value, found.low, found.high)
