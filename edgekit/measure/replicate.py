"""Launch after launch of fresh processes, until the difference is decided or time is up.

    launch: a process of each artifact, opened in a drawn order, rounds A B | B A ..., all closed  ->  samples
    pair:   median over the launch's rounds of log(candidate / baseline)  ->  ``sequential.Trial``

End, whichever comes first:

    N1 no baseline to be judged by: ``LAUNCHES`` launches
    N2 every candidate is faster or slower
    N3 without a budget of the user's: every candidate has the pairs that find a difference of 5 %
    N4 the budget is used up: the next launch would not end within it. Without one of the user's it is a
       minute, or what the six launches take that a verdict needs, five minutes at most; an interval needs two

    N5 the caller's number of launches, where a minute for each figure would be too long

Every candidate has its own trial; the 5 % of false verdicts are of each. Order: of two launches one runs
forwards and one backwards, which of them first is drawn; what a process gains by being opened first then has
no sign.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.measure import statistics
from edgekit.measure.sequential import FIRST_LOOK, Decision, Trial
from edgekit.measure.timer import Comparison, Ratio, Rounds, Taken, latency_of

LAUNCHES = 5  # without a verdict to reach: the median of five processes, and an interval over them
ROUNDS = 8  # of a launch; on recorded noise four have 1.7 to 2 times the spread, and cost 20 % less
BUDGET_S = 60.0  # without one of the user's
MOST_LAUNCHES = 10_000  # a limit where time has none: a device's job
LONGEST_S = 300.0  # N4: of the six launches of a large model or of a small board


@dataclass(frozen=True)
class Plan:
    """What a run of launches is for.

    Attributes:
        baseline: the name that the others are judged against; "" = none is.
        budget_s: the user's; None = ``BUDGET_S``, and N3.
        seed: of the order and of the drawn signs.
        launches: at most (N5).
    """

    baseline: str = ""
    budget_s: float | None = None
    seed: int = 0
    launches: int = MOST_LAUNCHES


class Replication:
    """The launches so far, of which artifacts, and whether there should be another."""

    def __init__(self, names: Sequence[str], plan: Plan) -> None:
        self._plan = plan
        self._names = tuple(names)
        self.launches: dict[str, list[Rounds]] = {name: [] for name in names}
        judged = [name for name in names if plan.baseline and name != plan.baseline]
        self._trials = {name: Trial(seed=plan.seed) for name in judged}
        self._out: set[str] = set()  # candidates that failed, or whose baseline did: nobody waits for them
        self._elapsed_s = 0.0
        self.count = 0

    def order(self) -> tuple[str, ...]:
        """In which the next launch opens and times."""
        return self._names[::-1] if backwards(self.count, seed=self._plan.seed) else self._names

    def take(self, samples: Mapping[str, Rounds], *, elapsed_s: float) -> None:
        """The samples of one launch; ``elapsed_s`` since the first one began."""
        self.count += 1
        self._elapsed_s = elapsed_s
        for name, rows in samples.items():
            self.launches[name].append(rows)
        against = samples.get(self._plan.baseline)
        for name, trial in self._trials.items():
            if against is None or name not in samples:
                self._out.add(name)
                continue
            trial.take(log_ratio(samples[name], against))
            trial.look(min(self._affordable, trial.planned) if self._open_end else self._affordable)

    def over(self) -> bool:
        """Whether this was the last launch (N1 to N4)."""
        if self.count >= self._affordable:
            return True
        waited_for = [trial for name, trial in self._trials.items() if name not in self._out]
        if not waited_for:
            return self.count >= LAUNCHES
        return all(trial.decided or (self._open_end and trial.pairs >= trial.planned) for trial in waited_for)

    def decisions(self) -> dict[str, Decision]:
        """By candidate, after a last look; none of a candidate without a pair."""
        for trial in self._trials.values():
            trial.finish()
        return {name: trial.decision() for name, trial in self._trials.items() if trial.pairs}

    @property
    def launch_s(self) -> float:
        """How long a launch takes."""
        return self._elapsed_s / max(1, self.count)

    @property
    def _open_end(self) -> bool:
        return self._plan.budget_s is None

    @property
    def _affordable(self) -> int:
        """Launches within the budget; one at least."""
        if not self.launch_s:
            return self._plan.launches
        least = 1 if self._plan.budget_s else max(2, min(FIRST_LOOK, int(LONGEST_S / self.launch_s)))
        left_s = (self._plan.budget_s or BUDGET_S) - self._elapsed_s
        return min(self._plan.launches, max(least, self.count + max(0, int(left_s / self.launch_s))))


def backwards(launch: int, *, seed: int) -> bool:
    """Whether a launch opens and times its artifacts from the last to the first."""
    first = bool(np.random.default_rng([seed, launch // 2]).integers(2))
    return first if launch % 2 == 0 else not first


def log_ratio(candidate: Rounds, baseline: Rounds) -> float:
    """The pair's figure: median over rounds of log(candidate / baseline), round by round."""
    pairs = zip(candidate, baseline, strict=False)  # a launch that broke off
    medians = [(statistics.percentile(one, 50), statistics.percentile(two, 50)) for one, two in pairs]
    return statistics.percentile(
        [math.log(one / two) for one, two in medians if min(one, two) > 0] or [0.0], 50
    )


@dataclass(frozen=True)
class Replicated:
    """What all launches gave.

    Attributes:
        launches: by name, the rounds of each launch.
        warnings: by name, what its warm-ups complained about.
        decisions: by candidate; none without a baseline.
        launch_s: how long one launch takes.
    """

    launches: Mapping[str, Sequence[Rounds]]
    warnings: Mapping[str, str]
    decisions: Mapping[str, Decision]
    launch_s: float

    def comparison(self, *, baseline: str, seed: int) -> Comparison:
        """Latencies of those that have samples, and ratios where two pairs or more are there."""
        return Comparison(
            latencies={
                name: latency_of(each, warning=self.warnings.get(name, ""), seed=seed)
                for name, each in self.launches.items()
                if any(each)
            },
            ratios={
                name: Ratio(each.ratio.value, each.ratio.low, each.ratio.high)
                for name, each in self.decisions.items()
                if each.pairs > 1
            },
            baseline=baseline,
            decisions=self.decisions,
        )


def replicate(
    launch: Callable[[Sequence[str]], Taken],
    names: Sequence[str],
    plan: Plan,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Replicated:
    """Call ``launch`` with the names in order, again and again (N1 to N4).

    Raises:
        EdgekitError: what ``launch`` raised.
    """
    run, warnings, begin = Replication(names, plan), dict[str, list[str]](), clock()
    while True:
        taken = launch(run.order())
        for name, warning in taken.warnings.items():
            warnings.setdefault(name, []).append(warning)
        run.take(taken.samples, elapsed_s=clock() - begin)
        if run.over():
            break
    said = {name: said_of(each) for name, each in warnings.items()}
    return Replicated(run.launches, said, run.decisions(), run.launch_s)


def said_of(warnings: Sequence[str]) -> str:
    """One warning for what the warm-ups of several launches complained about."""
    found = [each for each in warnings if each]
    if not found or len(warnings) == 1:
        return "".join(found)
    return f"{found[0]} ({len(found)} of {len(warnings)} launches)"
