"""Seeded series of runs with and without a step -> how often `bench --history` sees a change, and where.

    false alarm   share of series of 50 runs of pure noise with a change: at most 5 %
    found         share of series with a step of 8 % after run 30 in which it is seen, and how near
    outlier       share of series with one run three times as slow in which that is called a change

Nothing is timed: the figures are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.report import Bar, Report
from edgekit.measure.change_points import Floats, changes

TRIALS = 500
RUNS, STEP_AT, STEP = 50, 30, 1.08
NOISES = (0.01, 0.02, 0.03, 0.05, 0.10)
NEAR = 2  # runs
FALSE_ALARMS = 0.05
Draw = Callable[[np.random.Generator], Floats]
PURE: dict[str, Draw] = {
    "normal, 2 %": lambda rng: np.exp(rng.normal(0, 0.02, RUNS)),
    "normal, 10 %": lambda rng: np.exp(rng.normal(0, 0.10, RUNS)),
    "heavy tails (t, 2 degrees)": lambda rng: np.exp(0.02 * rng.standard_t(2, RUNS)),
    "one-sided (exponential)": lambda rng: 1 + 0.05 * rng.exponential(1, RUNS),
    "two levels at random": lambda rng: (
        np.where(rng.random(RUNS) < 0.3, 1.1, 1.0) + rng.normal(0, 0.01, RUNS)
    ),
}


def run() -> Report:
    """The whole suite; three minutes."""
    alarms = {
        name: _share(lambda rng, draw=draw: bool(_places(draw(rng), rng))) for name, draw in PURE.items()
    }
    outlier = _share(lambda rng: bool(_places(_with_outlier(rng), rng)))
    steps = {noise: _steps(noise) for noise in NOISES}
    soon = {
        more: _share(lambda rng, more=more: bool(_places(_new_level(rng, more), rng))) for more in (3, 4, 5)
    }
    bars = [Bar(f"false alarms in {name}", share, FALSE_ALARMS) for name, share in alarms.items()]
    bars.append(Bar("one outlier is called a change", outlier, FALSE_ALARMS))
    bars += [
        Bar(f"8 % in noise of {noise:.0%} found", steps[noise]["found"], 0.99, at_most=False)
        for noise in (0.01, 0.02)
    ]
    bars.append(Bar("8 % in noise of 1% found at its very run", steps[0.01]["exact"], 0.99, at_most=False))
    bars.append(Bar("8 % in noise of 2% found within two runs", steps[0.02]["near"], 0.95, at_most=False))
    bars.append(Bar("8 % in noise of 2% found after five runs", soon[5], 0.95, at_most=False))
    raw = {
        "trials": TRIALS,
        "false_alarms": alarms,
        "outlier": outlier,
        "steps_by_noise": {str(noise): found for noise, found in steps.items()},
        "found_after_runs_of_the_new_level": {str(more): share for more, share in soon.items()},
    }
    return Report("change_points", tuple(bars), raw)


def _share(trial: Callable[[np.random.Generator], bool]) -> float:
    return sum(trial(np.random.default_rng(seed)) for seed in range(TRIALS)) / TRIALS


def _places(values: Floats, rng: np.random.Generator) -> list[int]:
    return [each.index for each in changes(values, seed=int(rng.integers(1 << 31)))]


def _steps(noise: float) -> dict[str, float]:
    counts = dict.fromkeys(("found", "exact", "near", "more_than_one"), 0)
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        values = np.exp(rng.normal(0, noise, RUNS))
        values[STEP_AT:] *= STEP
        places = _places(values, rng)
        counts["found"] += bool(places)
        counts["exact"] += STEP_AT in places
        counts["near"] += any(abs(place - STEP_AT) <= NEAR for place in places)
        counts["more_than_one"] += len(places) > 1
    return {name: count / TRIALS for name, count in counts.items()}


def _with_outlier(rng: np.random.Generator) -> Floats:
    values = np.exp(rng.normal(0, 0.02, RUNS))
    values[rng.integers(RUNS)] *= 3
    return values


def _new_level(rng: np.random.Generator, more: int) -> Floats:
    values = np.exp(rng.normal(0, 0.02, STEP_AT + more))
    values[STEP_AT:] *= STEP
    return values
