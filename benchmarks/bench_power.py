"""Recorded noise of a shared machine, replayed through the decisions of `edgekit bench` -> how often it errs.

    1,000 trials of A against A: called different in at most 5 %
    1,000 trials of A against A + 5 %: found in at least 95 %, within the launches that the tool plans itself;
    never called faster
    a release, one pair of processes and a limit of 1.05: 6 % slower is called not slower in at most 5 %
    live: 20 times A against A, at most one false verdict; A against A + 10 %: found within 2 minutes

Each recording (``replayed_noise``) is brought to 10 % between process pairs; trials draw from all in turn. A
trial is a ``Replication`` without a budget: it ends when it is decided or when it has the launches that it
plans for a difference of 5 %. Time is no limit in the replay; what it would cost is in the raw figures.

The live part makes its file and the slower one: the same model with work that takes a tenth as long, and
nothing else (``slower_model``).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgekit
from benchmarks import slower_model
from benchmarks.replayed_noise import SPREAD, Recorded, launches, normal, recordings, spread_of
from benchmarks.report import Bar, Report
from edgekit.measure.replicate import Plan, Replication
from edgekit.measure.statistics import ratio_interval
from edgekit.measure.timer import NOT_SLOWER_LIMIT

TRIALS = 1000
SEED = 20261126
FALSE, FOUND = 0.05, 0.95
SLOW_DOWN = 0.05
RELEASE_SLOW_DOWN = 1.06
LIVE_RUNS, LIVE_FALSE, LIVE_SLOW_DOWN, LIVE_S = 20, 1, 0.10, 120.0


@dataclass(frozen=True)
class Outcome:
    """One trial: its verdict, and how many launches it took."""

    verdict: str
    launches: int


def trial(recorded: Recorded, *, slow_down: float, seed: int) -> Outcome:
    """Launch from the recording until the run says that it is over."""
    rng = np.random.default_rng(seed)
    run = Replication(("a", "b"), Plan("a", None, seed))
    for samples in launches(recorded, rng, slow_down=slow_down):
        run.take(samples, elapsed_s=0.0)  # time stands still: launches are the limit, not the minute
        if run.over():
            break
    return Outcome(run.decisions()["b"].verdict, run.count)


def replayed(sources: list[Recorded], *, slow_down: float, trials: int) -> list[Outcome]:
    """``trials`` trials, from the sources in turn."""
    jobs = [(sources[index % len(sources)], slow_down, SEED + index) for index in range(trials)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_trial, jobs, chunksize=10))


def _trial(job: tuple[Recorded, float, int]) -> Outcome:
    recorded, slow_down, seed = job
    return trial(recorded, slow_down=slow_down, seed=seed)


def _share(outcomes: list[Outcome], *verdicts: str) -> float:
    return sum(each.verdict in verdicts for each in outcomes) / len(outcomes)


def _figures(outcomes: list[Outcome]) -> dict[str, object]:
    counts = [each.launches for each in outcomes]
    return {
        "shares": {verdict: _share(outcomes, verdict) for verdict in ("faster", "slower", "undecided")},
        "launches": {
            "median": float(np.median(counts)),
            "p90": float(np.quantile(counts, 0.9)),
            "most": max(counts),
        },
    }


def run() -> Report:
    """Replay, then live."""
    held = recordings()
    sources = {"recorded": held, "normal": [normal(np.random.default_rng(SEED))]}
    bars: list[Bar] = []
    raw: dict[str, object] = {
        "spread": SPREAD,
        "recorded spread": {each.name: each.spread for each in held},
        "replayed spread": {each.name: spread_of(each, np.random.default_rng(SEED)) for each in held},
    }
    for name, source in sources.items():
        print(f"replaying {name} noise", file=sys.stderr, flush=True)
        same = replayed(source, slow_down=0.0, trials=TRIALS)
        slower = replayed(source, slow_down=SLOW_DOWN, trials=TRIALS)
        bars += [
            Bar(f"{name}: A/A called different", _share(same, "faster", "slower"), FALSE),
            Bar(f"{name}: 5 % slow-down found", _share(slower, "slower"), FOUND, at_most=False),
            Bar(f"{name}: 5 % slow-down called faster", _share(slower, "faster"), 0.0),
        ]
        raw[name] = {"A/A": _figures(same), "5 %": _figures(slower)}
    released = {each.name: one_launch(each) for each in held}
    for what in ("slower called not slower", "equal called slower"):
        bars.append(
            Bar(
                f"a release's one launch: {what}", float(np.mean([r[what] for r in released.values()])), FALSE
            )
        )
    live_bars, live = _live()
    return Report("bench_power", (*bars, *live_bars), {**raw, "one launch": released, "live": live})


def one_launch(recorded: Recorded) -> dict[str, float]:
    """Of pairs as they were recorded, what a release decides at its limit of 1.05 from one pair's rounds.

    The slower one takes 6 % longer, just beyond the limit; a slower one yet is let through less often.
    """
    found = {"slower called not slower": 0.0, "equal called slower": 0.0}
    pairs = [*zip(recorded.a, recorded.b, strict=True), *zip(recorded.b, recorded.a, strict=True)]
    for index, (baseline, candidate) in enumerate(pairs):
        ratio = ratio_interval(list(candidate), list(baseline), seed=index)
        found["slower called not slower"] += ratio.high * RELEASE_SLOW_DOWN <= NOT_SLOWER_LIMIT
        found["equal called slower"] += ratio.low > NOT_SLOWER_LIMIT
    return {name: count / len(pairs) for name, count in found.items()}


def _live() -> tuple[list[Bar], Mapping[str, object]]:
    """Two files of one model, and one that is 10 % slower, through ``edgekit.bench``."""
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        same, other, slower, made = slower_model.files(Path(folder), slow_down=LIVE_SLOW_DOWN)
        for index in range(LIVE_RUNS):
            found = edgekit.bench([other], baseline=same, seed=index)
            verdicts.append(found.rows[-1].verdict)
            print(f"live A/A {index + 1}/{LIVE_RUNS}: {verdicts[-1]}", file=sys.stderr, flush=True)
        begin = time.monotonic()
        found = edgekit.bench([slower], baseline=same, budget_s=LIVE_S - 10)
        took_s = time.monotonic() - begin
    row = found.rows[-1]
    wrong = sum(each in {"faster", "slower"} for each in verdicts)
    ratio = row.ratio.value if row.ratio else 0.0
    bars = [
        Bar("live: false verdicts of 20 A/A runs", wrong, LIVE_FALSE),
        Bar("live: 10 % slow-down, seconds until found", took_s if row.verdict == "slower" else 1e9, LIVE_S),
    ]
    launched = row.effect.launches if row.effect else 0
    return bars, {"verdicts": verdicts, "ratio": ratio, "launches": launched, "seconds": took_s, "made": made}
